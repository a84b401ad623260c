//! Chunks of a series that overlap, made ones that do not.

use bytes::Bytes;
use losertree::{Chunk, merge_by_key};

use crate::block::Problem;
use crate::block::xor::{self, Sample, XorEncoder};

/// How many samples a chunk has that is encoded anew: as many as Prometheus puts into one.
const SAMPLES: usize = 120;
const XOR: u8 = 1;

/// Why chunks cannot be made one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverlapError {
    /// Chunks overlap, and are not of samples that can be decoded.
    #[error("chunks of encoding {encoding} overlap, and only XOR chunks can be merged")]
    Encoding {
        /// The number of the encoding.
        encoding: u8,
    },
    /// A chunk cannot be decoded.
    #[error("a chunk cannot be decoded: {0}")]
    Chunk(#[from] Problem),
}

/// Merges chunks that overlap, by time. Chunks come in the order of their times, as
/// [`ProxyQuery`](losertree::response::ProxyQuery) gives them.
///
/// Of samples of one moment, that of the chunk that comes first is kept.
pub(crate) fn resolve(chunks: Vec<Chunk>) -> Result<Vec<Chunk>, OverlapError> {
    let is_apart = |one: &Chunk, next: &Chunk| one.max_time_ms < next.min_time_ms;
    if chunks.is_sorted_by(is_apart) {
        return Ok(chunks);
    }
    let mut resolved = Vec::with_capacity(chunks.len());
    let mut rest = chunks.as_slice();
    while let Some(first) = rest.first() {
        let mut end_ms = first.max_time_ms;
        let overlapping = rest[1..].iter().take_while(|next| {
            let overlaps = next.min_time_ms <= end_ms;
            end_ms = end_ms.max(next.max_time_ms);
            overlaps
        });
        let (group, others) = rest.split_at(1 + overlapping.count());
        if let [alone] = group {
            resolved.push(alone.clone());
        } else {
            merge(group, &mut resolved)?;
        }
        rest = others;
    }
    Ok(resolved)
}

fn merge(group: &[Chunk], resolved: &mut Vec<Chunk>) -> Result<(), OverlapError> {
    let mut runs = Vec::with_capacity(group.len());
    for chunk in group {
        let (encoding, data) = chunk.data.split_first().unwrap_or((&0, &[]));
        if *encoding != XOR {
            return Err(OverlapError::Encoding { encoding: *encoding });
        }
        runs.push(xor::decode(data)?.collect::<Result<Vec<_>, _>>()?);
    }
    let mut encoder = XorEncoder::new();
    let mut range: Option<(i64, i64)> = None;
    let mut finish = |encoder: &mut XorEncoder, range: &mut Option<(i64, i64)>| {
        if let Some((min_ms, max_ms)) = range.take() {
            let data = [&[XOR], encoder.finish()].concat();
            resolved.push(Chunk::new(min_ms, max_ms, Bytes::from(data)));
        }
    };
    let mut last_ms = None;
    for sample in merge_by_key(runs, |sample: &Sample| sample.time_ms) {
        if last_ms.replace(sample.time_ms) == Some(sample.time_ms) {
            continue;
        }
        if encoder.len() == SAMPLES {
            finish(&mut encoder, &mut range);
        }
        encoder.push(sample);
        range.get_or_insert((sample.time_ms, sample.time_ms)).1 = sample.time_ms;
    }
    finish(&mut encoder, &mut range);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chunk(times: impl IntoIterator<Item = i64>, value: f64) -> Chunk {
        let times: Vec<_> = times.into_iter().collect();
        let mut encoder = XorEncoder::new();
        for time_ms in &times {
            encoder.push(Sample { time_ms: *time_ms, value });
        }
        Chunk::new(times[0], times[times.len() - 1], [&[XOR], encoder.finish()].concat())
    }

    fn samples(chunks: &[Chunk]) -> Vec<(i64, f64)> {
        let samples = chunks.iter().flat_map(|chunk| xor::decode(&chunk.data[1..]).unwrap());
        samples.map(|sample| sample.map(|sample| (sample.time_ms, sample.value)).unwrap()).collect()
    }

    #[test]
    fn chunks_that_overlap_become_one_and_others_stay() {
        let chunks = vec![chunk(0..10, 1.0), chunk(5..200, 2.0), chunk(190..195, 3.0), chunk(300..310, 4.0)];
        let resolved = resolve(chunks.clone()).unwrap();
        assert!(resolved.is_sorted_by(|one, next| one.max_time_ms < next.min_time_ms));
        assert_eq!(resolved.last(), chunks.last());
        let wanted: Vec<_> = (0..200)
            .map(|time| (time, if time < 10 { 1.0 } else { 2.0 }))
            .chain((300..310).map(|time| (time, 4.0)))
            .collect();
        assert_eq!(samples(&resolved), wanted);
        assert_eq!(resolved.len(), 3);
    }

    #[test]
    fn histograms_that_overlap_are_an_error_and_pass_otherwise() {
        let histogram = |min, max| Chunk::new(min, max, vec![2, 0, 1]);
        let apart = vec![histogram(0, 9), histogram(10, 20)];
        assert_eq!(resolve(apart.clone()).unwrap(), apart);
        assert!(matches!(
            resolve(vec![histogram(0, 9), histogram(9, 20)]),
            Err(OverlapError::Encoding { encoding: 2 })
        ));
    }
}
