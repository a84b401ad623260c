use std::ops::Range;

use bytes::Bytes;

/// Which replica has seen a series: a checksum of the values of the labels by which replicas differ.
///
/// Chunks do not keep these labels when they are taken off and equal series are merged. So the chunk itself says which it is: by
/// a byte before its encoding, which no encoding is, and the checksum behind its data. A chunk of a block has room for
/// both, where its length and its own checksum were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Replica([u8; Self::BYTES]);

const MARK: u8 = 0xff;

impl Replica {
    /// How many bytes it takes behind the data of a chunk. Before that it takes one.
    pub(crate) const BYTES: usize = 4;

    /// The replica with these values, of which those that are not there are empty. Without any, it is not known which one it is.
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut crc, mut is_known) = (0, false);
        for value in values {
            is_known |= !value.is_empty();
            // No text has this byte.
            crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, value.as_bytes()), &[0xff]);
        }
        is_known.then(|| Self(crc.to_be_bytes()))
    }

    /// A chunk of this replica, as a copy.
    pub(crate) fn marked(self, encoding: u8, data: &[u8]) -> Vec<u8> {
        [&[MARK, encoding], data, &self.0].concat()
    }

    /// Marks a chunk where it is. Returns where it is now, or `None` if there is no room around it.
    pub(crate) fn mark(self, bytes: &mut [u8], chunk: Range<usize>) -> Option<Range<usize>> {
        let (start, end) = (chunk.start.checked_sub(1)?, chunk.end + Self::BYTES);
        bytes.get_mut(chunk.end..end)?.copy_from_slice(&self.0);
        *bytes.get_mut(start)? = MARK;
        Some(start..end)
    }

    /// Takes the mark off a chunk, if it has one.
    pub(crate) fn take(chunk: &mut Bytes) -> Option<Self> {
        let [MARK, rest @ ..] = &**chunk else { return None };
        let replica = Self(*rest.last_chunk()?);
        *chunk = chunk.slice(1..chunk.len() - Self::BYTES);
        Some(replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_found_again() {
        let (one, two) = (Replica::of(["a", ""]), Replica::of(["", "a"]));
        assert!(one.is_some() && two.is_some() && one != two);
        assert_eq!((Replica::of(["", ""]), Replica::of([])), (None, None));
        for replica in one.into_iter().chain(two) {
            let mut copy = Bytes::from(replica.marked(1, b"data"));
            assert_eq!((Replica::take(&mut copy), &*copy), (Some(replica), &b"\x01data"[..]));
            let mut bytes = *b"#\x01data####";
            assert_eq!(replica.mark(&mut bytes, 1..6), Some(0..10));
            let mut marked = Bytes::copy_from_slice(&bytes);
            assert_eq!((Replica::take(&mut marked), &*marked), (Some(replica), &b"\x01data"[..]));
            assert_eq!((Replica::take(&mut marked), &*marked), (None, &b"\x01data"[..]));
            assert_eq!((replica.mark(&mut bytes, 0..6), replica.mark(&mut bytes, 1..7)), (None, None));
        }
        let mut short = Bytes::from_static(&[MARK, 1, 2, 3]);
        assert_eq!((Replica::take(&mut short), short.len()), (None, 4));
    }
}
