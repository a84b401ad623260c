//! Writing series.

use std::io::{self, Write};

use losertree::{Labels, Series};

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
