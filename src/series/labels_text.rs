//! The notation of labels: writing it and reading it.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::str::FromStr;

use smallvec::SmallVec;

use super::labels::{Labels, LabelsBuilder};

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

/// Reads the notation, as [`FromStr`](#impl-FromStr-for-Labels) does.
///
/// # Examples
///
/// ```
/// use losertree::{Chunk, Labels, Series};
///
/// let series = Series::new(r#"{__name__="up", job="api"}"#.try_into()?, vec![Chunk::new(0, 0, "1")]);
/// assert_eq!(series.labels, Labels::try_from([("__name__", "up"), ("job", "api")])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl TryFrom<&str> for Labels {
    type Error = ParseLabelsError;

    fn try_from(text: &str) -> Result<Self, ParseLabelsError> {
        text.parse()
    }
}

/// Why a text is not a label set, and where.
///
/// Offsets are in bytes, from the beginning of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseLabelsError {
    /// Something else stands where a token was expected, or the text ends there.
    #[error("expected {expected} at byte {offset}")]
    Expected {
        /// Where it was expected.
        offset: usize,
        /// What was expected, in words.
        expected: &'static str,
    },
    /// A backslash does not begin one of the known escapes, or its digits are missing or name no character.
    #[error(r#"expected one of \a \b \f \n \r \t \v \\ \' \" \xNN \uNNNN \UNNNNNNNN at byte {offset}"#)]
    Escape {
        /// Where the backslash is.
        offset: usize,
    },
    /// The bytes of a quoted string, given by `\x` escapes, are not UTF-8.
    #[error("expected UTF-8 in the quoted string at byte {offset}")]
    NotUtf8 {
        /// Where the opening quote is.
        offset: usize,
    },
    /// A name has occurred before.
    #[error("expected a new label name at byte {offset}: {name:?} occurs twice")]
    DuplicateName {
        /// Where the later of the two begins.
        offset: usize,
        /// The name.
        name: String,
    },
}

impl ParseLabelsError {
    /// Returns where in the text the error is, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match self {
            Self::Expected { offset, .. }
            | Self::Escape { offset }
            | Self::NotUtf8 { offset }
            | Self::DuplicateName { offset, .. } => *offset,
        }
    }
}

/// Whether a name needs no quotes.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(is_plain_byte)
}

/// Whether a byte may be part of a name without quotes. Digits may not come first.
const fn is_plain_byte(byte: u8) -> bool {
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

/// Reads labels from a text, from left to right.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The whole text: a label set and nothing after it.
    fn labels(mut self) -> Result<Labels, ParseLabelsError> {
        let mut builder = LabelsBuilder::new();
        let mut name_offsets = SmallVec::<[usize; 16]>::new();
        self.token(b'{', "`{`")?;
        while !self.try_token(b'}') {
            if !name_offsets.is_empty() {
                self.token(b',', "`,` or `}`")?;
                if self.try_token(b'}') {
                    break;
                }
            }
            self.skip_spaces();
            name_offsets.push(self.at);
            let name = self.name()?;
            self.token(b'=', "`=`")?;
            self.skip_spaces();
            let value = self.quoted("a value in double quotes")?;
            builder.label(name, value);
        }
        self.skip_spaces();
        if self.at < self.text.len() {
            return Err(self.expected("the end of the text"));
        }
        builder.pack().map_err(|(index, name)| {
            let offset = name_offsets.get(index).copied().unwrap_or_default();
            ParseLabelsError::DuplicateName { offset, name }
        })
    }

    fn name(&mut self) -> Result<Cow<'a, str>, ParseLabelsError> {
        let expected = "a label name or `}`";
        match self.peek() {
            Some(byte) if is_plain_byte(byte) && !byte.is_ascii_digit() => {
                let rest = self.rest();
                let length = rest.bytes().position(|byte| !is_plain_byte(byte)).unwrap_or(rest.len());
                self.at += length;
                Ok(Cow::Borrowed(&rest[..length]))
            }
            _ => self.quoted(expected),
        }
    }

    /// A string in double quotes; `expected` is what to say if there is none.
    fn quoted(&mut self, expected: &'static str) -> Result<Cow<'a, str>, ParseLabelsError> {
        let offset = self.at;
        if !self.eat(b'"') {
            return Err(self.expected(expected));
        }
        let raw = self.until_special()?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(raw));
        }
        let mut bytes = raw.as_bytes().to_vec();
        while !self.eat(b'"') {
            self.escape(&mut bytes)?;
            bytes.extend_from_slice(self.until_special()?.as_bytes());
        }
        String::from_utf8(bytes).map(Cow::Owned).map_err(|_| ParseLabelsError::NotUtf8 { offset })
    }

    /// Everything before the next quote or backslash, which must come before the end of the line.
    fn until_special(&mut self) -> Result<&'a str, ParseLabelsError> {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
        self.at += length.unwrap_or(rest.len());
        match self.peek() {
            None | Some(b'\n') => Err(self.expected("a closing quote")),
            Some(_) => Ok(&rest[..length.unwrap_or_default()]),
        }
    }

    /// A backslash and what follows it.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), ParseLabelsError> {
        let unknown = ParseLabelsError::Escape { offset: self.at };
        let Some(letter) = self.text.as_bytes().get(self.at + 1) else {
            return Err(unknown);
        };
        self.at += 2;
        let byte = match letter {
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0B,
            b'\\' | b'\'' | b'"' => *letter,
            b'x' => self.hex(2).and_then(|value| u8::try_from(value).ok()).ok_or(unknown)?,
            b'u' | b'U' => {
                let digits = if *letter == b'u' { 4 } else { 8 };
                let character = self.hex(digits).and_then(char::from_u32).ok_or(unknown)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(unknown),
        };
        out.push(byte);
        Ok(())
    }

    /// The number in the next `digits` hexadecimal digits, if that many follow.
    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text = self.text.get(self.at..self.at + digits)?;
        // `from_str_radix` would also take a sign.
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += digits;
        u32::from_str_radix(text, 16).ok()
    }

    /// Takes spaces and then `byte`, which must be there.
    fn token(&mut self, byte: u8, expected: &'static str) -> Result<(), ParseLabelsError> {
        if self.try_token(byte) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// Takes spaces and then `byte`, if it is there.
    fn try_token(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        self.eat(byte)
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        // Only whole characters are ever stepped over.
        self.text.get(self.at..).unwrap_or_default()
    }

    fn expected(&self, expected: &'static str) -> ParseLabelsError {
        ParseLabelsError::Expected { offset: self.at, expected }
    }
}
