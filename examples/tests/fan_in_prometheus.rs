//! The example program `fan_in` reads what Prometheus 2.42 reads, and refuses what that refuses.
//!
//! `odd_lines/odd_lines.txt` has odd texts with the verdicts of Prometheus. With one installed (Debian: `apt-get install
//! prometheus`), the file is held to it, and `fan_in` on texts that are made up besides:
//!
//! ```text
//! cargo test --test programs fan_in_prometheus -- --ignored
//! ```
//!
//! A text is added with a line that begins with `<`, and gets its verdict, as all others do anew, by
//!
//! ```text
//! UPDATE_ODD_LINES=1 cargo test --test programs verdicts -- --ignored
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use losertree_testkit::Random;

use crate::fan_in_run::{self, Line, fan_in, file};
use crate::odd_lines::{self, Entry, Verdict, encode, made_up, texts};
use crate::prometheus::{self, Scraped};

/// What `fan_in` makes of a text: the lines that it prints, or what it says.
fn read(text: &[u8]) -> Result<Vec<Line>, String> {
    let (_dir, path) = file("text", text);
    let run = fan_in(&[&path]);
    match run.code {
        Some(0) => Ok(fan_in_run::read(&run.out)),
        Some(1) if run.err.contains(&format!(": {path}:")) => Err(run.err),
        _ => panic!("{}: {:?}, {}", encode(text), run.code, run.err),
    }
}

/// Asserts that `fan_in` has the verdict of Prometheus.
fn compare(text: &[u8], verdict: &Verdict) -> Result<(), String> {
    let found = match (read(text), verdict) {
        (Err(_), Verdict::Refused) => return Ok(()),
        (Err(error), Verdict::Accepted(_)) => {
            return Err(format!("{}: accepted by Prometheus, but {error}", encode(text)));
        }
        (Ok(lines), Verdict::Refused) => {
            return Err(format!("{}: refused by Prometheus, but {lines:?}", encode(text)));
        }
        (Ok(lines), Verdict::Accepted(found)) => (lines, found),
    };
    let (lines, expected) = found;
    let mut values: BTreeMap<BTreeMap<String, String>, BTreeSet<u64>> = BTreeMap::new();
    let bits = |value: &str| {
        let number: f64 = value.parse().unwrap();
        if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() }
    };
    for (labels, sample) in &lines {
        let value = bits(sample.split(' ').next().unwrap());
        values.entry(labels.iter().cloned().collect()).or_default().insert(value);
    }
    let labels_agree = expected.iter().map(|(labels, _)| labels).eq(values.keys());
    // Of several samples without a time Prometheus has the first, which nobody can tell from the output.
    if labels_agree && expected.iter().all(|(labels, value)| values[labels].contains(&bits(value))) {
        return Ok(());
    }
    Err(format!("{}: {expected:?} for Prometheus, but {lines:?}", encode(text)))
}

#[track_caller]
fn assert_all(compared: impl Iterator<Item = Result<(), String>>) {
    let wrong: Vec<String> = compared.filter_map(Result::err).collect();
    let shown: Vec<String> = wrong.iter().take(20).map(|line| line.chars().take(1000).collect()).collect();
    assert!(wrong.is_empty(), "{} texts are read otherwise:\n{}", wrong.len(), shown.join("\n"));
}

// F61
#[test]
fn odd_lines_are_read_as_by_prometheus() {
    let texts = texts();
    assert!(texts.len() >= 400);
    assert_all(texts.iter().map(|(text, verdict)| compare(text, verdict)));
}

#[test]
fn what_is_printed_of_odd_lines_can_be_read_again() {
    for (text, _) in texts().iter().filter(|(_, verdict)| *verdict != Verdict::Refused) {
        let (_dir, path) = file("text", text);
        let once = fan_in(&[&path]).output(1);
        let (_dir, path) = file("again", &once);
        assert_eq!(fan_in(&[&path]).output(1), once, "{}", encode(text));
    }
}

// F61
#[test]
#[ignore = "needs Prometheus 2.42"]
fn verdicts_are_those_of_prometheus() {
    let mut entries = odd_lines::read();
    let texts: Vec<_> = texts().into_iter().map(|(text, _)| text).collect();
    let scraped = prometheus::scrape(texts);
    let mut verdicts = scraped.verdicts.into_iter().zip(&scraped.errors);
    let mut changed = Vec::new();
    for entry in &mut entries {
        if let Entry::Text { bytes, verdict } = entry {
            let (found, error) = verdicts.next().unwrap();
            if *verdict != found {
                changed.push(format!("{}: {verdict:?}, now {found:?} {error}", encode(bytes)));
                *verdict = found;
            }
        }
    }
    if std::env::var_os("UPDATE_ODD_LINES").is_some() {
        odd_lines::write(&entries);
    } else {
        assert!(changed.is_empty(), "{} verdicts are others:\n{}", changed.len(), changed.join("\n"));
    }
}

/// How many texts are made up.
const MADE_UP: usize = 1000;

// F61
#[test]
#[ignore = "needs Prometheus 2.42"]
fn made_up_texts_are_read_as_by_prometheus() {
    let seed = std::env::var("SEED").ok().map_or(7885, |seed| seed.parse().unwrap());
    let mut random = Random::seed(seed);
    let near: Vec<_> = texts().into_iter().map(|(text, _)| text).collect();
    let texts: Vec<_> = (0..MADE_UP).map(|_| made_up(&near, &mut random)).collect();
    let scraped = prometheus::scrape(texts.clone());
    let count = |verdict: fn(&Verdict) -> bool| scraped.verdicts.iter().filter(|it| verdict(it)).count();
    // Else nothing is compared.
    let accepted = count(|verdict| matches!(verdict, Verdict::Accepted(found) if !found.is_empty()));
    let refused = count(|verdict| *verdict == Verdict::Refused);
    assert!(accepted.min(refused) > MADE_UP / 4, "{accepted} accepted, {refused} refused");
    assert_all(texts.iter().zip(&scraped.verdicts).map(|(text, verdict)| compare(text, verdict)));
}

#[test]
#[ignore = "needs Prometheus 2.42"]
fn timestamps_and_scrapes_are_read_as_by_prometheus() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = i64::try_from(now).unwrap();
    let mut texts: Vec<Vec<u8>> = ["a 1 {}", "a 1\t00{} ", "a{b=\"1\"}2 {}\n", "a NaN   {}\t\n"]
        .iter()
        .zip(1..)
        .map(|(text, age)| text.replace("{}", &(now - age * 1111).to_string()).into_bytes())
        .collect();
    let timed = texts.len();
    let data = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../data")).unwrap();
    let files = data
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "prom"));
    texts.extend(files.map(|path| fs::read(path).unwrap()));
    assert_eq!(texts.len(), timed + 13);

    let Scraped { verdicts, times, .. } = prometheus::scrape(texts.clone());
    assert_all(texts.iter().zip(&verdicts).map(|(text, verdict)| compare(text, verdict)));
    for (text, times) in texts.iter().zip(&times).take(timed) {
        let of_line = |(labels, sample): Line| {
            let time = sample.split(' ').nth(1).unwrap().parse().unwrap();
            (labels.into_iter().collect(), vec![time])
        };
        let lines: Vec<_> = read(text).unwrap().into_iter().map(of_line).collect();
        assert_eq!(&lines, times, "{}", encode(text));
    }
}
