use super::Problem;

/// Reads numbers and strings from bytes, and never beyond their end.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(crate) fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], Problem> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or(Problem::Truncated { what, len, available: rest.len() as u64 })?;
        self.at += taken.len();
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        let rest = &self.bytes[self.at..];
        let Some(array) = rest.first_chunk::<N>() else {
            return Err(Problem::Truncated { what, len: N as u64, available: rest.len() as u64 });
        };
        self.at += N;
        Ok(*array)
    }

    #[inline]
    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Problem> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Problem> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Problem> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Reads an unsigned number in groups of seven bits, the lowest first.
    #[inline]
    pub(crate) fn uvarint(&mut self, what: &'static str) -> Result<u64, Problem> {
        let first = self.byte(what)?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.long_uvarint(first, what)
    }

    fn long_uvarint(&mut self, first: u8, what: &'static str) -> Result<u64, Problem> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(Problem::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Problem::Number)
    }

    /// Reads a signed number: the sign is the lowest bit.
    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<i64, Problem> {
        let zigzag = self.uvarint(what)?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }
}

/// Appends an unsigned number in groups of seven bits.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // The lowest seven bits, and one that says that more follow.
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How long a number is in groups of seven bits.
pub(crate) const fn uvarint_len(number: u64) -> usize {
    (((number | 1).ilog2() + 7) / 7) as usize
}

/// Checks a checksum (CRC-32C).
pub(crate) fn check_crc(bytes: &[u8], found: u32, what: &'static str) -> Result<(), Problem> {
    let computed = crc32c::crc32c(bytes);
    // Hardly any of the inputs that fuzzing makes has one that is right: what is behind them is to be reached.
    if computed == found || cfg!(fuzzing) { Ok(()) } else { Err(Problem::Checksum { what, found, computed }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for number in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, (1 << bit) | 1]).chain([u64::MAX])
        {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, number);
            assert_eq!(bytes.len(), uvarint_len(number));
            assert_eq!(Cursor::new(&bytes).uvarint("").unwrap(), number);
            for len in 0..bytes.len() {
                assert!(matches!(Cursor::new(&bytes[..len]).uvarint(""), Err(Problem::Truncated { .. })));
            }
        }
        assert!(matches!(Cursor::new(&[0xff; 11]).uvarint(""), Err(Problem::Number)));
        assert!(matches!(
            Cursor::new(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 2]).uvarint(""),
            Err(Problem::Number)
        ));
        assert_eq!(Cursor::new(&[1]).varint("").unwrap(), -1);
        assert_eq!(Cursor::new(&[2]).varint("").unwrap(), 1);
    }
}
