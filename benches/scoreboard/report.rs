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
