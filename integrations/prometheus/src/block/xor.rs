//! Chunks of samples in the encoding that Prometheus calls XOR.
//!
//! After the number of samples in two bytes: the first time and value as they are; of the second the difference of
//! times; of all others the difference of differences, in as few bits as it fits; and of each value what changes in it, by
//! exclusive or, without the zeros around. The encoding is that of `tsdb/docs/format/chunks.md` of
//! prometheus/prometheus, after Pelkonen et al., "Gorilla", VLDB 2015.

use super::Problem;
use super::cursor::{Cursor, put_uvarint};

/// A value at a moment.
///
/// Two are equal if they are the same bits: the marker of a stale series is one of many values that are not a number.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// The value.
    pub value: f64,
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.time_ms == other.time_ms && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Sample {}

/// The most samples that a chunk can have.
pub const MAX_SAMPLES: usize = u16::MAX as usize;

const COUNT_BYTES: usize = 2;
/// How many bits the difference of differences has, by how many ones come before it.
const TIME_BITS: [u32; 3] = [14, 17, 20];

/// The samples of a chunk. Made by [`decode`].
#[derive(Debug, Clone)]
pub struct XorSamples<'a> {
    bits: Bits<'a>,
    left: u16,
    read: u16,
    time_ms: i64,
    delta: i64,
    value: u64,
    leading: u32,
    trailing: u32,
}

/// Decodes a chunk.
///
/// # Errors
///
/// [`Problem::Truncated`] if the chunk is cut off; the samples are then given up to that place.
pub fn decode(data: &[u8]) -> Result<XorSamples<'_>, Problem> {
    let Some((count, data)) = data.split_first_chunk::<COUNT_BYTES>() else {
        return Err(truncated(data.len()));
    };
    let left = u16::from_be_bytes(*count);
    Ok(XorSamples {
        bits: Bits { data, at: 0 },
        left,
        read: 0,
        time_ms: 0,
        delta: 0,
        value: 0,
        leading: 0,
        trailing: 0,
    })
}

/// Checks that a chunk can be decoded, and that its samples are in order.
pub(crate) fn check(data: &[u8]) -> Result<(), Problem> {
    let mut last_ms: Option<i64> = None;
    for sample in decode(data)? {
        let time_ms = sample?.time_ms;
        if last_ms.is_some_and(|last_ms| last_ms >= time_ms) {
            return Err(Problem::Invalid("samples of a chunk out of order"));
        }
        last_ms = Some(time_ms);
    }
    Ok(())
}

/// The most bytes that a sample can take: the first one of a chunk, with the number of samples, takes as many.
pub(crate) const LONGEST_SAMPLE_BYTES: usize = 20;

/// How many samples a chunk says that it has.
pub(crate) fn count(data: &[u8]) -> usize {
    data.first_chunk().map_or(0, |count| u16::from_be_bytes(*count).into())
}

const fn truncated(len: usize) -> Problem {
    Problem::Truncated { what: "a sample", len: len as u64 + 1, available: len as u64 }
}

impl XorSamples<'_> {
    #[inline]
    fn step(&mut self) -> Result<Sample, Problem> {
        match self.read {
            0 => {
                let mut cursor = Cursor::new(self.bits.data);
                self.time_ms = cursor.varint("a sample")?;
                self.value = cursor.u64("a sample")?;
                self.bits.at = cursor.position() * 8;
            }
            1 => {
                let start = self.bits.at / 8;
                let mut cursor = Cursor::new(self.bits.data.get(start..).unwrap_or_default());
                self.delta = cursor.uvarint("a sample")?.cast_signed();
                self.bits.at = (start + cursor.position()) * 8;
                self.time_ms = self.time_ms.wrapping_add(self.delta);
                self.step_value()?;
            }
            _ => {
                self.delta = self.delta.wrapping_add(self.change_of_delta()?);
                self.time_ms = self.time_ms.wrapping_add(self.delta);
                self.step_value()?;
            }
        }
        Ok(Sample { time_ms: self.time_ms, value: f64::from_bits(self.value) })
    }

    #[inline]
    fn change_of_delta(&mut self) -> Result<i64, Problem> {
        if !self.bits.bit()? {
            return Ok(0);
        }
        for bits in TIME_BITS {
            if !self.bits.bit()? {
                let number = self.bits.short(bits)?.cast_signed();
                // Half of them and one more are positive.
                return Ok(if number > 1 << (bits - 1) { number - (1 << bits) } else { number });
            }
        }
        self.bits.long(64).map(u64::cast_signed)
    }

    #[inline]
    fn step_value(&mut self) -> Result<(), Problem> {
        if !self.bits.bit()? {
            return Ok(());
        }
        if self.bits.bit()? {
            let window = self.bits.short(11)? as u32;
            let significant = match window & 0x3f {
                0 => 64,
                bits => bits,
            };
            self.leading = window >> 6;
            self.trailing = (64 - self.leading)
                .checked_sub(significant)
                .ok_or(Problem::Invalid("a value of more than 64 bits in a chunk"))?;
        }
        let change = self.bits.long(64 - self.leading - self.trailing)?;
        self.value ^= change << self.trailing;
        Ok(())
    }
}

impl Iterator for XorSamples<'_> {
    type Item = Result<Sample, Problem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let sample = self.step();
        self.read = self.read.saturating_add(1).min(2);
        if sample.is_err() {
            self.left = 0;
        }
        Some(sample)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.into()))
    }
}

/// Reads bits, the highest of each byte first.
#[derive(Debug, Clone)]
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The 64 bits from the current one on, of which at least 57 are true; zeros behind the end.
    #[inline]
    fn ahead(&self) -> u64 {
        let rest = self.data.get(self.at / 8..).unwrap_or_default();
        let bytes = if let Some(bytes) = rest.first_chunk::<8>() {
            *bytes
        } else {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            bytes
        };
        u64::from_be_bytes(bytes) << (self.at % 8)
    }

    #[inline]
    fn advance(&mut self, bits: u32) -> Result<(), Problem> {
        self.at += bits as usize;
        if self.at <= self.data.len() * 8 { Ok(()) } else { Err(truncated(self.data.len())) }
    }

    #[inline]
    fn bit(&mut self) -> Result<bool, Problem> {
        let is_one = self.ahead() >> 63 == 1;
        self.advance(1)?;
        Ok(is_one)
    }

    /// Up to 57 bits, and not none.
    #[inline]
    fn short(&mut self, bits: u32) -> Result<u64, Problem> {
        let number = self.ahead() >> (64 - bits);
        self.advance(bits)?;
        Ok(number)
    }

    /// Up to 64 bits, and not none.
    #[inline]
    fn long(&mut self, bits: u32) -> Result<u64, Problem> {
        if bits <= 56 {
            return self.short(bits);
        }
        let high = self.short(bits - 32)?;
        Ok(high << 32 | self.short(32)?)
    }
}

/// Encodes samples to chunks, just as Prometheus does.
#[derive(Debug)]
pub struct XorEncoder {
    out: Vec<u8>,
    /// How many bits of the last byte are used, 8 where it is full.
    used: u32,
    count: u16,
    last: Sample,
    delta: i64,
    /// Zeros before and behind what changed last in a value, if that was written.
    window: Option<(u32, u32)>,
}

impl Default for XorEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl XorEncoder {
    /// Begins a chunk without samples.
    #[must_use]
    pub fn new() -> Self {
        let last = Sample { time_ms: 0, value: 0.0 };
        Self { out: vec![0; COUNT_BYTES], used: 8, count: 0, last, delta: 0, window: None }
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether there are no samples.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the chunk can have no more samples: [`MAX_SAMPLES`].
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == u16::MAX
    }

    /// Appends a sample, which should be later than the one before.
    ///
    /// Returns whether it did: a chunk that [is full](Self::is_full) stays as it is.
    pub fn push(&mut self, sample: Sample) -> bool {
        if self.is_full() {
            return false;
        }
        let delta = sample.time_ms.wrapping_sub(self.last.time_ms);
        match self.count {
            0 => {
                self.out.truncate(COUNT_BYTES);
                let zigzag = (sample.time_ms << 1) ^ (sample.time_ms >> 63);
                put_uvarint(&mut self.out, zigzag.cast_unsigned());
                self.out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
            }
            1 => {
                put_uvarint(&mut self.out, delta.cast_unsigned());
                self.put_value(sample.value);
            }
            _ => {
                self.put_change_of_delta(delta.wrapping_sub(self.delta));
                self.put_value(sample.value);
            }
        }
        self.delta = delta;
        self.last = sample;
        self.count += 1;
        true
    }

    /// Returns the chunk, and begins another one in its memory.
    pub fn finish(&mut self) -> &[u8] {
        let count = self.count.to_be_bytes();
        self.out[..COUNT_BYTES].copy_from_slice(&count);
        (self.count, self.used, self.delta, self.window) = (0, 8, 0, None);
        &self.out
    }

    /// Gives up what was written.
    pub fn clear(&mut self) {
        (self.count, self.used, self.delta, self.window) = (0, 8, 0, None);
    }

    fn put_change_of_delta(&mut self, change: i64) {
        if change == 0 {
            return self.put(0, 1);
        }
        for (ones, bits) in (1..).zip(TIME_BITS) {
            let half = 1_i64 << (bits - 1);
            if -half < change && change <= half {
                self.put((1_u64 << (ones + 1)) - 2, ones + 1);
                return self.put(change.cast_unsigned() & ((1 << bits) - 1), bits);
            }
        }
        self.put(0b1111, 4);
        self.put(change.cast_unsigned(), 64);
    }

    fn put_value(&mut self, value: f64) {
        let change = value.to_bits() ^ self.last.value.to_bits();
        if change == 0 {
            return self.put(0, 1);
        }
        // There are five bits for how many zeros come before.
        let (leading, trailing) = (change.leading_zeros().min(31), change.trailing_zeros());
        if let Some((before, behind)) = self.window
            && leading >= before
            && trailing >= behind
        {
            self.put(0b10, 2);
            return self.put(change >> behind, 64 - before - behind);
        }
        self.window = Some((leading, trailing));
        let significant = 64 - leading - trailing;
        self.put(0b11, 2);
        // There are six bits for 1 to 64: 64 is written as 0.
        self.put(u64::from(leading << 6 | (significant & 0x3f)), 11);
        self.put(change >> trailing, significant);
    }

    fn put(&mut self, number: u64, bits: u32) {
        let mut left = bits;
        while left > 0 {
            if self.used == 8 {
                self.out.push(0);
                self.used = 0;
            }
            let now = left.min(8 - self.used);
            let part = (number >> (left - now)) & ((1 << now) - 1);
            if let Some(last) = self.out.last_mut() {
                *last |= (part as u8) << (8 - self.used - now);
            }
            self.used += now;
            left -= now;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Numbers that look random, of a seed.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn samples(seed: u64) -> Vec<Sample> {
        let mut state = seed;
        let mut time_ms = (random(&mut state) >> (random(&mut state) % 64)).cast_signed() / 4;
        let mut value = 0_u64;
        (0..random(&mut state) % 300)
            .map(|_| {
                let jump = random(&mut state) >> 1 >> (random(&mut state) % 62);
                time_ms = time_ms.saturating_add(if random(&mut state).is_multiple_of(3) {
                    jump.cast_signed() / 8
                } else {
                    60_000
                });
                value = match random(&mut state) % 4 {
                    0 => value,
                    1 => (f64::from_bits(value) + 1.0).to_bits(),
                    2 => 0x7ff0_0000_0000_0002,
                    _ => random(&mut state),
                };
                Sample { time_ms, value: f64::from_bits(value) }
            })
            .collect()
    }

    fn encode(samples: &[Sample]) -> Vec<u8> {
        let mut encoder = XorEncoder::new();
        assert!(samples.iter().all(|sample| encoder.push(*sample)));
        assert_eq!(encoder.len(), samples.len());
        encoder.finish().to_vec()
    }

    #[test]
    fn what_was_encoded_is_decoded_bit_by_bit() {
        for seed in 0..2_000 {
            let samples = samples(seed);
            let decoded: Vec<_> = decode(&encode(&samples)).unwrap().map(Result::unwrap).collect();
            assert_eq!(decoded, samples, "seed {seed}");
        }
    }

    #[test]
    fn a_chunk_that_is_cut_or_changed_ends_early_or_gives_other_samples() {
        for seed in 0..50 {
            let data = encode(&samples(seed));
            for len in 0..data.len() {
                let _ = decode(&data[..len]).map(Iterator::last);
            }
            let whole = decode(&data).unwrap().count();
            if whole > 0 {
                assert!(
                    decode(&data[..data.len() - 1]).unwrap().any(|sample| sample.is_err()),
                    "seed {seed}"
                );
            }
            for at in 0..data.len() * 8 {
                let mut changed = data.clone();
                changed[at / 8] ^= 1 << (at % 8);
                assert!(decode(&changed).unwrap().count() <= MAX_SAMPLES);
            }
        }
    }

    #[test]
    fn a_full_chunk_takes_no_more() {
        let mut encoder = XorEncoder::new();
        for time_ms in 0..i64::from(u16::MAX) {
            assert!(encoder.push(Sample { time_ms, value: 1.0 }));
        }
        assert!(encoder.is_full() && !encoder.push(Sample { time_ms: 1 << 20, value: 1.0 }));
        assert_eq!(decode(encoder.finish()).unwrap().count(), MAX_SAMPLES);
    }
}
