//! The Prometheus text exposition format, version 0.0.4: reading and writing it.
//!
//! It is read as Prometheus 2.42 does it. What Prometheus refuses is refused, and what it accepts has the same labels,
//! also where that is odd: `examples/tests/odd_lines/odd_lines.txt` has such lines with the verdicts of Prometheus, against which
//! `examples/tests/fan_in_prometheus.rs` holds them.

mod comment;
mod problem;
mod reader;
mod writer;

use losertree::Series;

pub(crate) use problem::{Malformed, Problem};
pub(crate) use writer::write;

use reader::Reader;

/// What is read otherwise than Prometheus 2.42 does it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Format {
    /// Whether a label with an empty value is a label. For Prometheus it is none.
    pub(crate) keeps_empty_labels: bool,
    /// Whether names may stand in quotes, and then be any UTF-8, as for Prometheus 3.
    pub(crate) utf8_names: bool,
}

/// Reads a scrape: its series in the order of their lines, each with one chunk that has the sample as text.
pub(crate) fn parse(scrape: &[u8], format: Format) -> Result<Vec<Series>, Malformed> {
    let mut reader = Reader::new(scrape, format);
    let mut all = Vec::new();
    while !reader.is_at_end() {
        let start = reader.at();
        all.extend(reader.line().map_err(|problem| Malformed::new(scrape, start..reader.at(), problem))?);
    }
    Ok(all)
}
