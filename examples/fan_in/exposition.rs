//! The Prometheus text exposition format, one line for each series: reading and writing it.

use std::io::{self, Write};
use std::str::Utf8Error;

use losertree::series::LabelsError;
use losertree::{Chunk, Labels, Series};
use openmetrics_parser::prometheus::parse_prometheus;

/// A line that is not of the format.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// Which line, counted from 1.
    pub(crate) line: usize,
    pub(crate) problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("not UTF-8")]
    NotUtf8(#[from] Utf8Error),
    #[error("carriage return inside the line")]
    CarriageReturn,
    #[error("expected `name{{labels}} value [timestamp]`")]
    Shape,
    #[error("bad value {0:?}")]
    Value(String),
    #[error("bad timestamp {0:?}")]
    Timestamp(String),
    #[error("bad name or labels: {0}")]
    NameOrLabels(String),
    #[error("bad labels: {0}")]
    Labels(#[from] LabelsError),
}

/// Reads a scrape: its series in the order of their lines, each with one chunk that has the sample as text.
pub(crate) fn parse(scrape: &[u8]) -> Result<Vec<Series>, Malformed> {
    let mut all = Vec::new();
    for (index, line) in scrape.split(|&byte| byte == b'\n').enumerate() {
        let series = str::from_utf8(line).map_err(Problem::from).and_then(parse_line);
        all.extend(series.map_err(|problem| Malformed { line: index + 1, problem })?);
    }
    Ok(all)
}

/// Reads one line; a blank one and a comment have no series.
fn parse_line(line: &str) -> Result<Option<Series>, Problem> {
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains('\r') {
        // The end of a line in the parser's grammar: what follows would be a sample of its own.
        return Err(Problem::CarriageReturn);
    }
    // Value and timestamp are split off here. The parser would give numbers, which lose digits and the way
    // they were written; its timestamps are floats; and it refuses several blanks before a timestamp. The
    // last `}` of a well-formed line closes the labels, and without labels the name ends at a blank.
    let name_end = match line.rfind('}') {
        Some(brace) => brace + 1,
        None => line.find([' ', '\t']).unwrap_or(line.len()),
    };
    let (name, sample) = line.split_at(name_end);
    let mut fields = sample.split([' ', '\t']).filter(|field| !field.is_empty());
    let (Some(value), timestamp, None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(Problem::Shape);
    };
    if !is_value(value) {
        return Err(Problem::Value(value.into()));
    }
    let time_ms = match timestamp {
        Some(text) => text.parse().map_err(|_| Problem::Timestamp(text.into()))?,
        None => 0,
    };
    let sample = timestamp.map_or_else(|| value.to_owned(), |timestamp| format!("{value} {timestamp}"));
    Ok(Some(Series::new(parse_name(name)?, vec![Chunk::new(time_ms, time_ms, sample)])))
}

/// Whether Prometheus reads the text as a number. It calls a number out of range malformed, Rust infinite.
fn is_value(text: &str) -> bool {
    let is_infinity = || text.to_ascii_lowercase().contains("inf");
    text.parse::<f64>().is_ok_and(|number| number.is_finite() || number.is_nan() || is_infinity())
}

/// Reads the name of a metric and its labels.
///
/// The parser gets one sample at a time, and no type of the metric: so it folds nothing into histograms or
/// summaries, and what it calls the family is the metric's name, suffix and all.
fn parse_name(text: &str) -> Result<Labels, Problem> {
    let problem = |error: &dyn ToString| {
        // An error of the grammar is a drawing; its last line says what was expected, in the grammar's words.
        let text = error.to_string();
        let message = text.lines().last().unwrap_or_default().trim_start_matches([' ', '=']);
        Problem::NameOrLabels(message.replace("metricfamily", "a name"))
    };
    let exposition = parse_prometheus(&format!("{text} 0\n")).map_err(|error| problem(&error))?;
    let family = exposition.families.into_values().next().ok_or(Problem::Shape)?;
    let sample = family.iter_samples().next().ok_or(Problem::Shape)?;
    let mut labels = Labels::builder();
    labels.label(Labels::METRIC_NAME, &family.family_name);
    for (name, value) in sample.get_labelset().map_err(|error| problem(&error))?.iter() {
        labels.label(name, value);
    }
    Ok(labels.build()?)
}

/// Writes a series, a line for each of its chunks.
pub(crate) fn write(out: &mut impl Write, series: &Series) -> io::Result<()> {
    for chunk in &series.chunks {
        write_name(out, &series.labels)?;
        out.write_all(b" ")?;
        out.write_all(&chunk.data)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Writes the name of a metric and its labels. Names that need it are put in quotes, as Prometheus does since
/// it allows any UTF-8 in them; a metric's name then goes inside the braces.
fn write_name(out: &mut impl Write, labels: &Labels) -> io::Result<()> {
    let mut separator: &[u8] = b"{";
    if let Some(name) = labels.metric_name() {
        if is_plain(&name, |byte| byte == b':') {
            out.write_all(name.as_bytes())?;
        } else {
            out.write_all(b"{")?;
            write_quoted(out, &name)?;
            separator = b",";
        }
    }
    for (name, value) in labels.iter().filter(|(name, _)| name != Labels::METRIC_NAME) {
        out.write_all(separator)?;
        separator = b",";
        if is_plain(&name, |_| false) {
            out.write_all(name.as_bytes())?;
        } else {
            write_quoted(out, &name)?;
        }
        out.write_all(b"=")?;
        write_quoted(out, &value)?;
    }
    if separator == b"," { out.write_all(b"}") } else { Ok(()) }
}

/// Whether a name needs no quotes; `more` are the bytes allowed besides letters, digits and `_`.
fn is_plain(name: &str, more: fn(u8) -> bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || more(byte))
}

/// Writes a string in quotes, with the three escapes of the format.
fn write_quoted(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    for piece in text.split_inclusive(['\\', '"', '\n']) {
        let (plain, escape): (_, &[u8]) = match piece.as_bytes() {
            [plain @ .., b'\\'] => (plain, br"\\"),
            [plain @ .., b'"'] => (plain, br#"\""#),
            [plain @ .., b'\n'] => (plain, br"\n"),
            plain => (plain, b""),
        };
        out.write_all(plain)?;
        out.write_all(escape)?;
    }
    out.write_all(b"\"")
}
