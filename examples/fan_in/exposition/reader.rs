//! Reading lines, token by token.

use std::borrow::Cow;

use losertree::{Chunk, Labels, LabelsBuilder, Series};

use super::{Format, Problem, comment};

/// Reads a text from its beginning to its end.
///
/// The language is that of `model/textparse/promlex.l` and `promparse.go` in prometheus/prometheus. A NUL is the odd
/// one there: where a line begins it is the end of the text, in quotes it is a character, elsewhere it is malformed.
pub(super) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    format: Format,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(text: &'a [u8], format: Format) -> Self {
        Self { text, at: 0, format }
    }

    /// How much has been read.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Reads a line. A blank one and a comment have no series; a label value may have line ends.
    pub(super) fn line(&mut self) -> Result<Option<Series>, Problem> {
        let has_blanks = self.blanks();
        match self.rest() {
            [] | [0, ..] => self.at = self.text.len(),
            [b'\n', ..] => self.at += 1,
            [b'#', comment @ ..] => {
                let end = comment.iter().position(|byte| *byte == b'\n').unwrap_or(comment.len());
                let goes_on = comment::check(&comment[..end], self.format.utf8_names)?;
                self.at = if goes_on { self.at + 1 + end } else { self.text.len() };
            }
            [first, ..] if is_metric_byte(*first) && !first.is_ascii_digit() => {
                return if has_blanks { Err(Problem::BlanksFirst) } else { self.series().map(Some) };
            }
            [b'{', ..] if self.format.utf8_names => return self.series().map(Some),
            [b'{', more @ ..] if more.trim_ascii_start().starts_with(b"\"") => {
                return Err(Problem::QuotedName);
            }
            [0xEF, 0xBB, 0xBF, ..] => return Err(Problem::ByteOrderMark),
            [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => return Err(Problem::Utf16),
            rest => return Err(Problem::expected("the name of a metric", rest)),
        }
        Ok(None)
    }

    fn series(&mut self) -> Result<Series, Problem> {
        let mut labels = Labels::builder();
        if !self.format.keeps_empty_labels {
            labels.without_empty_values();
        }
        let name = self.take_while(is_metric_byte);
        if !name.is_empty() {
            labels.label(Labels::METRIC_NAME, String::from_utf8_lossy(name));
        }
        self.blanks();
        if self.eat(b'{') {
            self.labels(&mut labels, !name.is_empty())?;
            self.blanks();
        }
        let sample = self.sample()?;
        let labels = labels.build()?;
        if labels.metric_name().is_none_or(|name| name.is_empty()) {
            return Err(Problem::NoName);
        }
        Ok(Series::new(labels, vec![sample]))
    }

    /// Reads labels up to the brace that closes them. A comma may follow each of them, and need not.
    fn labels(&mut self, labels: &mut LabelsBuilder, mut has_name: bool) -> Result<(), Problem> {
        loop {
            self.blanks();
            if self.eat(b'}') {
                return Ok(());
            }
            let is_quoted = self.rest().starts_with(b"\"");
            let name = self.label_name()?;
            self.blanks();
            if is_quoted && matches!(self.rest(), [b',' | b'}', ..]) {
                if has_name {
                    return Err(Problem::SecondName(name.into_owned()));
                }
                has_name = true;
                labels.label(Labels::METRIC_NAME, name);
            } else if self.eat(b'=') {
                // NULs, too, behind a blank.
                while self.eat_if(is_blank) {
                    self.take_while(|byte| byte == 0);
                }
                labels.label(name, self.quoted("a value in double quotes", Problem::ValueNotUtf8)?);
            } else {
                return Err(Problem::expected("`=`", self.rest()));
            }
            self.blanks();
            self.eat(b',');
        }
    }

    fn label_name(&mut self) -> Result<Cow<'a, str>, Problem> {
        let expected = "a label name or `}`";
        match self.rest() {
            [b'"', ..] if self.format.utf8_names => self.quoted(expected, Problem::NameNotUtf8),
            [b'"', ..] => Err(Problem::QuotedName),
            [first, ..] if is_label_byte(*first) && !first.is_ascii_digit() => {
                Ok(String::from_utf8_lossy(self.take_while(is_label_byte)))
            }
            rest => Err(Problem::expected(expected, rest)),
        }
    }

    /// Reads a string in double quotes, line ends and NULs included, and undoes its escapes.
    ///
    /// Prometheus passes over NULs behind the closing quote as over those before it. So the quote and all but the last of
    /// them become a part of the string.
    fn quoted(&mut self, expected: &'static str, not_utf8: Problem) -> Result<Cow<'a, str>, Problem> {
        let quote = self.at;
        if !self.eat(b'"') {
            return Err(Problem::expected(expected, self.rest()));
        }
        loop {
            self.take_while(|byte| !matches!(byte, b'"' | b'\\'));
            match self.rest() {
                [b'"', ..] => break,
                [] => {
                    self.at = quote;
                    return Err(Problem::expected("a closing quote", b""));
                }
                _ => self.at += 1,
            }
            self.take_while(|byte| byte == 0);
            if !self.eat_if(|byte| byte != b'\n') {
                return Err(Problem::expected("a character behind the backslash", self.rest()));
            }
        }
        self.at += 1;
        self.take_while(|byte| byte == 0);
        let string = str::from_utf8(&self.text[quote + 1..self.at - 1]).map_err(|_| not_utf8)?;
        Ok(unescape(string))
    }

    /// Reads a value, a timestamp where there is one, and the end of the line.
    ///
    /// They are kept as text: numbers would lose digits, and the way they were written.
    fn sample(&mut self) -> Result<Chunk, Problem> {
        let value = self.take_while(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n' | 0));
        let value = String::from_utf8_lossy(value);
        match &*value {
            "" => return Err(Problem::expected("a value", self.rest())),
            value if value.contains('\r') => return Err(Problem::CarriageReturn),
            value if !is_value(value) => return Err(Problem::Value(value.to_owned())),
            _ => {}
        }
        self.blanks();
        let behind = self.rest();
        let timestamp = String::from_utf8_lossy(self.take_while(|byte| byte.is_ascii_digit()));
        if !matches!(self.rest(), [] | [b' ' | b'\t' | b'\n', ..]) {
            return Err(Problem::timestamp(behind));
        }
        self.blanks();
        if !(self.is_at_end() || self.eat(b'\n')) {
            return Err(Problem::behind("the end of the line", self.rest()));
        }
        if timestamp.is_empty() {
            return Ok(Chunk::new(0, 0, value.into_owned()));
        }
        let time_ms = timestamp.parse().map_err(|_| Problem::Timestamp(timestamp.clone().into_owned()))?;
        Ok(Chunk::new(time_ms, time_ms, format!("{value} {timestamp}")))
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn take_while(&mut self, is_taken: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let (taken, _) = rest.split_at(rest.iter().position(|byte| !is_taken(*byte)).unwrap_or(rest.len()));
        self.at += taken.len();
        taken
    }

    /// Passes over blanks. Returns whether there were any.
    fn blanks(&mut self) -> bool {
        !self.take_while(is_blank).is_empty()
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.eat_if(|found| found == byte)
    }

    fn eat_if(&mut self, is_eaten: impl Fn(u8) -> bool) -> bool {
        let is_there = self.rest().first().is_some_and(|byte| is_eaten(*byte));
        self.at += usize::from(is_there);
        is_there
    }
}

pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether a byte may be part of the name of a metric. Digits may not come first.
pub(super) const fn is_metric_byte(byte: u8) -> bool {
    is_label_byte(byte) || byte == b':'
}

/// Whether a byte may be part of the name of a label. Digits may not come first.
pub(super) const fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether Prometheus reads the text as a number. It calls a number out of range malformed, Rust infinite; and its NaN
/// has no sign.
fn is_value(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(|number| {
        number.is_finite()
            || if number.is_nan() { text.len() == 3 } else { text.to_ascii_lowercase().contains("inf") }
    })
}

/// Undoes the three escapes of the format. Any other backslash is one.
fn unescape(text: &str) -> Cow<'_, str> {
    let mut unescaped = Cow::Borrowed("");
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once('\\') {
        let (character, taken) = match behind.as_bytes() {
            [b'n', ..] => ('\n', 1),
            [b'"', ..] => ('"', 1),
            [b'\\', ..] => ('\\', 1),
            _ => ('\\', 0),
        };
        let unescaped = unescaped.to_mut();
        unescaped.push_str(plain);
        unescaped.push(character);
        rest = &behind[taken..];
    }
    unescaped + rest
}
