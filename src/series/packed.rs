//! The packed form of a label set, as bytes. [`Labels`](super::Labels) documents it.

use std::borrow::Cow;

use smallvec::SmallVec;

/// What packed bytes are put together in: most label sets fit, so that packing them allocates once.
pub(super) type Buffer = SmallVec<[u8; 256]>;

/// Ends a string.
const END: u8 = 0x00;

/// Follows a NUL that is part of a string. UTF-8 has no such byte, so it cannot begin the next string.
const ESCAPED: u8 = 0xFF;

/// Appends `text` with its end.
pub(super) fn push(out: &mut Vec<u8>, text: &[u8]) {
    push_escaped(out, text);
    out.push(END);
}

/// Appends a text that contains no end, with its own.
#[inline]
pub(super) fn push_unescaped(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(END);
}

/// How many bytes are those that end a string. In parts that a byte can count, so that many are counted at a time.
pub(super) fn count_ends(bytes: &[u8]) -> usize {
    let count = |part: &[u8]| part.iter().fold(0_u8, |count, byte| count + u8::from(*byte == END));
    bytes.chunks(usize::from(u8::MAX)).map(|part| usize::from(count(part))).sum()
}

/// Returns `text` as it stands in packed bytes, without its end.
pub(crate) fn escape(text: &str) -> Cow<'_, [u8]> {
    if text.as_bytes().contains(&END) {
        let mut out = Vec::new();
        push_escaped(&mut out, text.as_bytes());
        Cow::Owned(out)
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for (index, part) in text.split(|byte| *byte == END).enumerate() {
        if index > 0 {
            out.extend_from_slice(&[END, ESCAPED]);
        }
        out.extend_from_slice(part);
    }
}

/// Undoes [`escape`].
pub(crate) fn unescape(escaped: &[u8]) -> Cow<'_, str> {
    // Packed bytes have been checked to be UTF-8, so nothing is lost here. This form has no panic in it.
    match unescape_bytes(escaped) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Drops the byte after every NUL. The end is not part of `escaped`, so a NUL in it is an escaped one.
fn unescape_bytes(escaped: &[u8]) -> Cow<'_, [u8]> {
    if !escaped.contains(&END) {
        return Cow::Borrowed(escaped);
    }
    let mut bytes = Vec::with_capacity(escaped.len());
    for (index, part) in escaped.split(|byte| *byte == END).enumerate() {
        if index > 0 {
            bytes.push(END);
        }
        bytes.extend_from_slice(part.strip_prefix(&[ESCAPED]).filter(|_| index > 0).unwrap_or(part));
    }
    Cow::Owned(bytes)
}

/// Undoes [`escape`] without allocating: what the string is, in pieces. UTF-8 has no `FF`, so each is an escape.
pub(crate) fn pieces(escaped: &[u8]) -> impl Iterator<Item = &[u8]> {
    escaped.split(|byte| *byte == ESCAPED)
}

/// One label: a piece of packed bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// The whole pair, with both ends.
    pub(super) bytes: &'a [u8],
    /// The escaped name, without its end.
    pub(crate) name: &'a [u8],
    /// The escaped value, without its end.
    pub(crate) value: &'a [u8],
}

/// The labels of packed bytes. Ends early if the bytes do: what is left is then in `rest`.
#[derive(Debug, Clone)]
pub(crate) struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    pub(super) const fn new(packed: &'a [u8]) -> Self {
        Self { rest: packed }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        let (name, rest) = split_end(self.rest)?;
        let (value, rest) = split_end(rest)?;
        let (bytes, _) = self.rest.split_at(self.rest.len() - rest.len());
        self.rest = rest;
        Some(Pair { bytes, name, value })
    }
}

/// Splits off the first string, and drops its end.
fn split_end(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let end = from + bytes.get(from..)?.iter().position(|byte| *byte == END)?;
        if bytes.get(end + 1) == Some(&ESCAPED) {
            from = end + 2;
        } else {
            return Some((&bytes[..end], &bytes[end + 1..]));
        }
    }
}

/// Checks that bytes are the packed form of some label set.
pub(super) fn check(packed: &[u8]) -> Result<(), LabelsError> {
    let mut pairs = Pairs::new(packed);
    let mut offset = 0;
    let mut before: Option<&[u8]> = None;
    for pair in &mut pairs {
        let name = check_text(pair.name, offset)?;
        check_text(pair.value, offset + pair.name.len() + 1)?;
        // Escaping preserves order, so the escaped names can be compared as they are.
        match before {
            Some(before) if before == pair.name => {
                return Err(LabelsError::DuplicateName { name: name.into_owned() });
            }
            Some(before) if before > pair.name => return Err(LabelsError::Unsorted { offset }),
            _ => {}
        }
        before = Some(pair.name);
        offset += pair.bytes.len();
    }
    if pairs.rest().is_empty() { Ok(()) } else { Err(LabelsError::Truncated { offset }) }
}

fn check_text(escaped: &[u8], offset: usize) -> Result<Cow<'_, str>, LabelsError> {
    let not_utf8 = LabelsError::NotUtf8 { offset };
    match unescape_bytes(escaped) {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| not_utf8),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| not_utf8),
    }
}

/// Why something is not a label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// Two labels have one name.
    #[error("label name {name:?} occurs twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Packed bytes end within a label.
    #[error("packed labels end within the label that begins at byte {offset}")]
    Truncated {
        /// Where the label begins.
        offset: usize,
    },
    /// A name or value in packed bytes is not UTF-8.
    #[error("packed labels have a string that is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Where the name or value begins.
        offset: usize,
    },
    /// A name in packed bytes is smaller than the one before it.
    #[error("packed labels have a name out of order at byte {offset}")]
    Unsorted {
        /// Where the name begins.
        offset: usize,
    },
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        fn escaping_is_undone_and_preserves_order(a: String, b: String) -> bool {
            let (a, b) = (a.replace('a', "\0"), b.replace('a', "\0"));
            unescape(&escape(&a)) == a
                && pieces(&escape(&a)).flatten().eq(a.as_bytes())
                && escape(&a).cmp(&escape(&b)) == a.cmp(&b)
        }

        fn pairs_cut_any_bytes_without_loss(bytes: Vec<u8>) -> bool {
            // Mostly ends, escapes and letters: other bytes change nothing here.
            let bytes: Vec<u8> = bytes.iter().map(|byte| [END, ESCAPED, b'a'][usize::from(byte % 3)]).collect();
            let mut pairs = Pairs::new(&bytes);
            let mut whole: Vec<u8> = pairs.by_ref().flat_map(|pair| pair.bytes.to_vec()).collect();
            whole.extend_from_slice(pairs.rest());
            whole == bytes && check(&bytes).is_ok() <= pairs.rest().is_empty()
        }
    }
}
