//! The notation of labels: writing it. The parser is a file of its own.

use std::fmt::{self, Write};
use std::str::FromStr;

use super::labels_parser::Parser;
use super::{Labels, ParseLabelsError};

/// Writes the notation of Prometheus: `{a="1", b="2"}`, and `{}` for the empty set.
///
/// Names other than `[a-zA-Z_][a-zA-Z0-9_]*` are put in quotes too: `{"http.method"="GET"}`. Within quotes
/// `\` `"` newline, tab and carriage return are written as `\\` `\"` `\n` `\t` `\r`, and other control
/// characters of ASCII as `\x00`; everything else is written as it is.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_plain(&name) {
                f.write_str(&name)?;
            } else {
                write_quoted(f, &name)?;
            }
            f.write_char('=')?;
            write_quoted(f, &value)?;
        }
        f.write_char('}')
    }
}

/// As [`Display`](fmt::Display).
impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads the notation that [`Display`](fmt::Display) writes.
///
/// Also allowed are spaces, tabs and line ends around tokens, a comma after the last label, labels in any
/// order, and in quotes the other escapes of Go: `\a` `\b` `\f` `\v` `\'` `\xNN` `\uNNNN` `\UNNNNNNNN`. `\x`
/// gives a byte, not a character; the whole string must be UTF-8. A newline in quotes must be escaped. The
/// metric's name has no notation of its own: it is the value of `__name__`.
///
/// # Errors
///
/// See [`ParseLabelsError`]; each tells the byte at which the text stops being a label set.
///
/// # Examples
///
/// ```
/// use losertree::Labels;
///
/// let labels: Labels = r#"{ method="GET", __name__="requests", "http.status"="\u0032xx", }"#.parse()?;
/// assert_eq!(labels.to_string(), r#"{__name__="requests", "http.status"="2xx", method="GET"}"#);
///
/// let error = r#"{job:"api"}"#.parse::<Labels>().unwrap_err();
/// assert_eq!(error.to_string(), "expected `=` at byte 4");
/// # Ok::<(), losertree::series::ParseLabelsError>(())
/// ```
impl FromStr for Labels {
    type Err = ParseLabelsError;

    fn from_str(text: &str) -> Result<Self, ParseLabelsError> {
        Parser::new(text).labels()
    }
}

/// Whether a name needs no quotes.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(is_plain_byte)
}

/// Whether a byte may be part of a name without quotes. Digits may not come first.
pub(super) const fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '\\' => f.write_str(r"\\")?,
            '"' => f.write_str(r#"\""#)?,
            '\n' => f.write_str(r"\n")?,
            '\t' => f.write_str(r"\t")?,
            '\r' => f.write_str(r"\r")?,
            control if control.is_ascii_control() => write!(f, r"\x{:02x}", u32::from(control))?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}
