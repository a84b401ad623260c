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

/// How samples of chunks that overlap are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merging {
    /// All of them: the chunks are of one source, or of copies of it.
    All,
    /// The chunks are of replicas, which see the same at different moments: those of one, until it has a gap.
    Replicas,
}

/// Merges chunks that overlap. Chunks come in the order of their times, as
/// [`ProxyQuery`](losertree::response::ProxyQuery) gives them.
///
/// Of samples of one moment, that of the chunk that comes first is kept.
pub(crate) fn resolve(chunks: Vec<Chunk>, merging: Merging) -> Result<Vec<Chunk>, OverlapError> {
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
            merge(group, merging, &mut resolved)?;
        }
        rest = others;
    }
    Ok(resolved)
}

fn merge(group: &[Chunk], merging: Merging, resolved: &mut Vec<Chunk>) -> Result<(), OverlapError> {
    // Of replicas, each is of chunks that follow one another: a chunk goes to the first that ends before it begins.
    let mut chains: Vec<(i64, Vec<Sample>)> = Vec::new();
    for chunk in group {
        let (encoding, data) = chunk.data.split_first().unwrap_or((&0, &[]));
        if *encoding != XOR {
            return Err(OverlapError::Encoding { encoding: *encoding });
        }
        let follows = |(end_ms, _): &(i64, _)| merging == Merging::Replicas && *end_ms < chunk.min_time_ms;
        let at = chains.iter().position(follows);
        let at = at.unwrap_or_else(|| {
            chains.push((i64::MIN, Vec::new()));
            chains.len() - 1
        });
        let (end_ms, samples) = &mut chains[at];
        *end_ms = chunk.max_time_ms;
        for sample in xor::decode(data)? {
            samples.push(sample?);
        }
    }
    let chains = chains.into_iter().map(|(_, samples)| samples);
    let samples = match merging {
        Merging::All => merge_by_key(chains, |sample: &Sample| sample.time_ms).collect(),
        Merging::Replicas => chains.reduce(|one, other| stay(&one, &other)).unwrap_or_default(),
    };
    encode(&samples, resolved);
    Ok(())
}

/// Encodes samples in the order of their times, of which several at one moment count once.
fn encode(samples: &[Sample], resolved: &mut Vec<Chunk>) {
    let mut encoder = XorEncoder::new();
    let mut range: Option<(i64, i64)> = None;
    let mut finish = |encoder: &mut XorEncoder, range: &mut Option<(i64, i64)>| {
        if let Some((min_ms, max_ms)) = range.take() {
            let data = [&[XOR], encoder.finish()].concat();
            resolved.push(Chunk::new(min_ms, max_ms, Bytes::from(data)));
        }
    };
    let mut last_ms = None;
    for sample in samples {
        if last_ms.replace(sample.time_ms) == Some(sample.time_ms) {
            continue;
        }
        if encoder.len() == SAMPLES {
            finish(&mut encoder, &mut range);
        }
        encoder.push(*sample);
        range.get_or_insert((sample.time_ms, sample.time_ms)).1 = sample.time_ms;
    }
    finish(&mut encoder, &mut range);
}

/// What the other replica is put back by at first, when no distance of samples is known. So the second sample may be that of
/// the other one, if it is further away than this.
const FIRST_PENALTY_MS: i64 = 5_000;

/// Takes samples of one replica until it has a gap: the other one is put back by twice the distance of the last two samples.
///
/// The rule is that of Thanos' deduplication, `pkg/dedup/iter.go` of thanos-io/thanos, without what it does to counters.
fn stay(one: &[Sample], other: &[Sample]) -> Vec<Sample> {
    let mut taken: Vec<Sample> = Vec::with_capacity(one.len().max(other.len()));
    let mut rest = [one, other];
    let mut penalty_ms = [0_i64; 2];
    let mut last_ms: Option<i64> = None;
    loop {
        for (rest, penalty_ms) in rest.iter_mut().zip(penalty_ms) {
            if let Some(last_ms) = last_ms {
                let from_ms = last_ms.saturating_add(penalty_ms);
                *rest = &rest[rest.partition_point(|sample| sample.time_ms <= from_ms)..];
            }
        }
        let chosen = match rest.map(|rest| rest.first()) {
            [None, None] => return taken,
            [Some(_), None] => 0,
            [None, Some(_)] => 1,
            [Some(one), Some(other)] => usize::from(other.time_ms < one.time_ms),
        };
        let sample = rest[chosen][0];
        let distance_ms = last_ms.map(|last_ms| sample.time_ms.saturating_sub(last_ms));
        penalty_ms[1 - chosen] =
            distance_ms.map_or(FIRST_PENALTY_MS, |distance_ms| distance_ms.saturating_mul(2));
        penalty_ms[chosen] = 0;
        last_ms = Some(sample.time_ms);
        taken.push(sample);
    }
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
        let resolved = resolve(chunks.clone(), Merging::All).unwrap();
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
        assert_eq!(resolve(apart.clone(), Merging::All).unwrap(), apart);
        assert!(matches!(
            resolve(vec![histogram(0, 9), histogram(9, 20)], Merging::All),
            Err(OverlapError::Encoding { encoding: 2 })
        ));
    }

    #[test]
    fn replicas_are_taken_one_at_a_time_and_fill_each_others_gaps() {
        let times = |from: i64, to: i64, offset: i64| (from..to).map(move |minute| minute * 60_000 + offset);
        // One is gone from the 10th to the 30th minute, the other from the 40th to the 50th.
        let chunks = vec![
            chunk(times(0, 10, 0), 1.0),
            chunk(times(0, 40, 7_000), 2.0),
            chunk(times(30, 60, 0), 1.0),
            chunk(times(50, 60, 7_000), 2.0),
        ];
        let merged = samples(&resolve(chunks, Merging::Replicas).unwrap());
        let gaps: Vec<_> = merged.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        // The second sample is too near: no distance was known.
        assert!(gaps[2..].iter().all(|gap| (60_000..=3 * 60_000).contains(gap)), "{gaps:?}");
        assert!(merged.len() >= 57, "{}", merged.len());
        // It changes replicas only where one has a gap.
        let changes = merged.windows(2).filter(|pair| pair[0].1.to_bits() != pair[1].1.to_bits()).count();
        assert_eq!(changes, 2 + 2);
        // Copies are one.
        let copies = vec![chunk(times(0, 50, 0), 1.0), chunk(times(10, 50, 0), 1.0)];
        assert_eq!(samples(&resolve(copies, Merging::Replicas).unwrap()).len(), 50);
    }
}
