use std::borrow::Cow;

use smallvec::SmallVec;

use super::labels_text::is_plain_byte;
use super::{Labels, LabelsBuilder, ParseLabelsError};

/// Reads labels from a text, from left to right.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The whole text: a label set and nothing after it.
    pub(super) fn labels(mut self) -> Result<Labels, ParseLabelsError> {
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
