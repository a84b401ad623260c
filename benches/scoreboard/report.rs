//! Tables in Markdown, and lines of JSON.

use std::io::{self, Write};

use serde_json::json;

use super::board::Row;
use super::common::contender::{Part, Role};

/// Prints a table for each workload: a line for each contender, a column for each fan-in.
pub(crate) fn tables(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    for rows in rows.chunk_by(|a, b| (&a.workload, a.part) == (&b.workload, b.part)) {
        let Some(first) = rows.first() else { continue };
        let unit = match first.part {
            Part::Whole => "item",
            Part::First => "source, up to the first item and the drop",
        };
        writeln!(out, "\n{}, ns per {unit} (times as fast as the naive heap)\n", first.workload)?;
        let fan_ins: Vec<_> = rows.iter().map(|row| format!("K = {}", row.sources)).collect();
        writeln!(out, "| | {} |\n|---|{}", fan_ins.join(" | "), "---|".repeat(rows.len()))?;
        for (line, figure) in first.figures.iter().enumerate() {
            write!(out, "| {} |", figure.contender)?;
            for row in rows {
                let figure = &row.figures[line];
                let (ratio, spread) = (row.ratio_to_naive(figure), 100.0 * figure.spread);
                write!(out, " {:.1} ±{spread:.0} % ({ratio:.2}) |", figure.ns)?;
            }
            writeln!(out)?;
        }
    }
    out.flush()
}

/// Prints one table of all rows: the best peers, and how many times as fast as they each of ours is.
pub(crate) fn summary(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nbest peer, ns per item or source, and its time ÷ ours; the same in bulk, all in memory\n"
    )?;
    writeln!(out, "| workload | K | lazy | ÷ ours | in bulk | ÷ ours |\n|---|---|---|---|---|---|")?;
    for row in rows {
        write!(out, "| {} | {} |", row.workload, row.sources)?;
        for (theirs, ours) in [(Role::Peer, Role::Ours), (Role::Bulk, Role::OursInBulk)] {
            let Some(peer) = row.best(theirs) else {
                write!(out, " | |")?;
                continue;
            };
            let ours = row.figures.iter().filter(|figure| figure.role == ours);
            let ours: Vec<_> =
                ours.map(|ours| format!("{} {:.2}", ours.contender, peer.ns / ours.ns)).collect();
            write!(out, " {} {:.1} | {} |", peer.contender, peer.ns, ours.join(", "))?;
        }
        writeln!(out)?;
    }
    out.flush()
}

/// How many of the worst are shown.
const WORST: usize = 12;

/// Prints how many times as fast as the best lazy peer `merge` is, for keys that are strings of bytes: the worst cells, and the
/// geometric mean of all.
pub(crate) fn keys(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    let is_of_keys = |row: &&Row| row.workload.ends_with("/by_ref") || row.workload.ends_with("/cloned");
    let ratio = |row: &Row| {
        let ours = row.figures.iter().find(|figure| figure.contender == "losertree")?;
        Some(row.best(Role::Peer)?.ns / ours.ns)
    };
    let mut cells: Vec<_> =
        rows.iter().filter(is_of_keys).filter_map(|row| Some((ratio(row)?, row))).collect();
    if cells.is_empty() {
        return Ok(());
    }
    cells.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    writeln!(out, "\nkeys that are strings of bytes: the best lazy peer's time ÷ ours, the worst first\n")?;
    writeln!(out, "| workload | K | ÷ ours |\n|---|---|---|")?;
    for (ratio, row) in cells.iter().take(WORST) {
        writeln!(out, "| {} | {} | {ratio:.2} |", row.workload, row.sources)?;
    }
    let sum: f64 = cells.iter().map(|(ratio, _)| ratio.ln()).sum();
    let slower = cells.iter().filter(|(ratio, _)| *ratio < 1.0).count();
    // Far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let mean = (sum / cells.len() as f64).exp();
    writeln!(out, "\ngeometric mean of {} cells: {mean:.2}; {slower} are below 1", cells.len())?;
    out.flush()
}

/// Writes each figure as a JSON object, one a line.
pub(crate) fn json(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    for row in rows {
        for figure in &row.figures {
            let line = json!({
                "workload": row.workload,
                "k": row.sources,
                "contender": figure.contender,
                "ns_per_item": figure.ns,
                "ratio_to_naive": row.ratio_to_naive(figure),
                "compares_per_item": figure.comparisons,
            });
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
