//! Blocks to show: made by promtool of the scrapes that the repository ships. Tests use them, too.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// A series of the scrapes.
#[derive(Debug, Clone)]
pub(crate) struct Scraped {
    pub(crate) name: String,
    /// Each with a comma behind it.
    pub(crate) labels: String,
    pub(crate) value: f64,
}

/// The series of the shipped scrapes, not more than so many, some of each file; with a label that says which.
pub(crate) fn scraped(limit: usize) -> io::Result<Vec<Scraped>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data");
    let mut files =
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "prom"));
    files.sort();
    let mut all = Vec::new();
    for path in &files {
        let from = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        all.extend(lines.filter_map(|line| {
            let (series, rest) = match line.rfind('}') {
                Some(end) => line.split_at(end + 1),
                None => line.split_once(' ')?,
            };
            let value = rest.split_whitespace().next()?.parse().ok()?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').trim_end_matches(',');
            let comma = if labels.is_empty() { "" } else { "," };
            Some(Scraped { name: name.into(), labels: format!("{labels}{comma}from=\"{from}\","), value })
        }));
    }
    let step = (all.len() / limit.max(1)).max(1);
    Ok(all.into_iter().step_by(step).take(limit).collect())
}

/// Numbers that look random, of a seed.
pub(crate) const fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Text for `promtool tsdb create-blocks-from openmetrics`: one sample a minute of each series, from the start on, with counters
/// that are reset and gaps.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn open_metrics(series: &[Scraped], start_ms: i64, minutes: i64) -> String {
    let mut text = String::new();
    let mut sorted: Vec<_> = series.iter().collect();
    // All of a name belong together.
    sorted.sort_by_key(|series| series.name.as_str());
    for (index, Scraped { name, labels, value }) in sorted.into_iter().enumerate() {
        let mut state = index as u64;
        let mut value = *value;
        let grows = !random(&mut state).is_multiple_of(3);
        let mut is_gone = 0;
        for minute in 0..minutes {
            if is_gone > 0 {
                is_gone -= 1;
                continue;
            }
            match random(&mut state) % 400 {
                0 => is_gone = random(&mut state) % 30,
                1 if grows => value = 0.0,
                2..=99 => {}
                step if grows => value += step as f64 / 4.0,
                step => value += (step as f64 - 250.0) / 16.0,
            }
            let seconds = start_ms / 1000 + minute * 60;
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}{{{}}} {value} {seconds}", labels.trim_end_matches(','));
        }
    }
    text.push_str("# EOF\n");
    text
}

const PREFIX: &str = "losertree-gateway-";

/// The directory of the blocks that a process shows.
#[allow(dead_code)] // Tests have their own.
pub(crate) fn directory(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}{process}"))
}

/// Removes the directories of processes that are not there any more: they were killed. Where that cannot be seen, none is.
#[allow(dead_code)] // As above.
pub(crate) fn remove_left() -> io::Result<()> {
    if !Path::new("/proc/self").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).map(str::parse::<u32>);
        let Some(Ok(process)) = process else { continue };
        if Path::new("/proc").join(process.to_string()).exists() || !entry.file_type()?.is_dir() {
            continue;
        }
        match fs::remove_dir_all(entry.path()) {
            Ok(()) => eprintln!("removed {}, which was left behind", entry.path().display()),
            // It may be another user's, or somebody else removes it.
            Err(error) => eprintln!("{} was left behind: {error}", entry.path().display()),
        }
    }
    Ok(())
}

/// Has promtool make blocks of such a text, in a directory `data` of `dir`.
pub(crate) fn make_blocks(dir: &Path, open_metrics: &str) -> Result<PathBuf, Box<dyn Error>> {
    let (text, data) = (dir.join("metrics.txt"), dir.join("data"));
    fs::write(&text, open_metrics)?;
    let mut promtool = Command::new("promtool");
    let output = promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&text).arg(&data).output();
    let output = output.map_err(|error| format!("promtool: {error}; Debian's package prometheus has it"))?;
    if !output.status.success() {
        return Err(format!("promtool: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Without one, promtool does not read what it has made.
    fs::create_dir_all(data.join("wal"))?;
    Ok(data)
}
