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

/// What a chunk of a store has before its data: the place of the store among all, where it is not the first.
///
/// Chunks do not keep their store when those of equal series are merged. So the chunk itself says which it is. The encoding of
/// the chunk follows, which is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u16);

const PLACED: u8 = 0;
const PLACE_BYTES: usize = 3;

impl Place {
    /// The data of a chunk of a store at this place.
    pub(crate) fn mark(self, encoding: u8, data: &[u8]) -> Bytes {
        let [high, low] = self.0.to_be_bytes();
        if self == Self(0) {
            [&[encoding], data].concat()
        } else {
            [&[PLACED, high, low, encoding], data].concat()
        }
        .into()
    }

    /// Takes the place off the data of a chunk.
    fn take(chunk: &mut Chunk) -> Self {
        match *chunk.data {
            [PLACED, high, low, ..] => {
                chunk.data = chunk.data.slice(PLACE_BYTES..);
                Self(u16::from_be_bytes([high, low]))
            }
            _ => Self(0),
        }
    }
}

/// The chunks of a series as stores have them, with their places.
pub(crate) struct Placed {
    chunks: Vec<(Place, Chunk)>,
}

impl Placed {
    /// Takes chunks in the order of their times, as [`ProxyQuery`](losertree::response::ProxyQuery) gives them. Of identical ones,
    /// that of the first store is kept.
    pub(crate) fn new(chunks: Vec<Chunk>) -> Self {
        let placed = chunks.into_iter().map(|mut chunk| (Place::take(&mut chunk), chunk));
        let mut chunks: Vec<_> = placed.collect();
        if !chunks.is_sorted_by(|(_, one), (_, next)| one.max_time_ms < next.min_time_ms) {
            chunks.sort_by(|(place, one), (other, next)| one.cmp(next).then(place.cmp(other)));
            chunks.dedup_by(|(_, next), (_, one)| next == one);
        }
        Self { chunks }
    }

    /// How many bytes it can take to merge those that overlap, at most: what they are decoded to, merged, and encoded to.
    pub(crate) fn merging_bytes(&self) -> usize {
        const SAMPLE_BYTES: usize = size_of::<Sample>();
        let groups = Groups(&self.chunks).filter(|group| group.len() > 1);
        let samples = groups.flatten().map(|(_, chunk)| xor::count(chunk.data.get(1..).unwrap_or_default()));
        samples.sum::<usize>() * (2 * SAMPLE_BYTES + xor::LONGEST_SAMPLE_BYTES)
    }

    /// The chunks, of which some may overlap.
    pub(crate) fn take(self) -> Vec<Chunk> {
        self.chunks.into_iter().map(|(_, chunk)| chunk).collect()
    }

    /// Merges chunks that overlap. Of samples of one moment, that of the first store is kept, and within a store that of the
    /// chunk that comes first.
    pub(crate) fn resolve(self, merging: Merging) -> Result<Vec<Chunk>, OverlapError> {
        let mut resolved = Vec::with_capacity(self.chunks.len());
        for group in Groups(&self.chunks) {
            if let [(_, alone)] = group {
                resolved.push(alone.clone());
            } else {
                merge(group, merging, &mut resolved)?;
            }
        }
        Ok(resolved)
    }
}

/// Chunks that overlap, or one that overlaps no other.
struct Groups<'a>(&'a [(Place, Chunk)]);

impl<'a> Iterator for Groups<'a> {
    type Item = &'a [(Place, Chunk)];

    fn next(&mut self) -> Option<Self::Item> {
        let (_, first) = self.0.first()?;
        let mut end_ms = first.max_time_ms;
        let overlapping = self.0[1..].iter().take_while(|(_, next)| {
            let overlaps = next.min_time_ms <= end_ms;
            end_ms = end_ms.max(next.max_time_ms);
            overlaps
        });
        let (group, rest) = self.0.split_at(1 + overlapping.count());
        self.0 = rest;
        Some(group)
    }
}

/// The samples of chunks that follow one another.
struct Chain {
    place: Place,
    end_ms: i64,
    samples: Vec<Sample>,
}

fn merge(group: &[(Place, Chunk)], merging: Merging, resolved: &mut Vec<Chunk>) -> Result<(), OverlapError> {
    // Of replicas, each is of chunks of one store that follow one another: a chunk goes to the first that ends before it begins.
    let mut chains: Vec<Chain> = Vec::new();
    for (place, chunk) in group {
        let (encoding, data) = chunk.data.split_first().unwrap_or((&0, &[]));
        if *encoding != XOR {
            return Err(OverlapError::Encoding { encoding: *encoding });
        }
        let follows = |chain: &Chain| {
            merging == Merging::Replicas && chain.place == *place && chain.end_ms < chunk.min_time_ms
        };
        let at = chains.iter().position(follows).unwrap_or_else(|| {
            chains.push(Chain { place: *place, end_ms: i64::MIN, samples: Vec::new() });
            chains.len() - 1
        });
        let chain = &mut chains[at];
        chain.end_ms = chunk.max_time_ms;
        for sample in xor::decode(data)? {
            let sample = sample?;
            if chain.samples.last().is_some_and(|last| last.time_ms >= sample.time_ms) {
                return Err(Problem::Invalid("samples of a chunk out of order, or out of its range").into());
            }
            chain.samples.push(sample);
        }
    }
    // Where all else is equal, the first one is taken.
    chains.sort_by_key(|chain| chain.place);
    let chains = chains.into_iter().map(|chain| chain.samples);
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

    fn resolve(chunks: Vec<Chunk>, merging: Merging) -> Result<Vec<Chunk>, OverlapError> {
        Placed::new(chunks).resolve(merging)
    }

    fn at(place: u16, chunk: &Chunk) -> Chunk {
        Chunk { data: Place(place).mark(chunk.data[0], &chunk.data[1..]), ..chunk.clone() }
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
    fn of_one_moment_the_first_store_wins_whichever_chunk_begins_first() {
        let (early, late) = (chunk(0..10, 1.0), chunk(5..20, 2.0));
        for (places, from) in [([0, 1], 10), ([1, 0], 5), ([1, 2], 10), ([700, 300], 5)] {
            let mut chunks = vec![at(places[0], &early), at(places[1], &late)];
            chunks.sort();
            for merging in [Merging::All, Merging::Replicas] {
                // Of replicas that see the same at the same moments, one is followed.
                let merged = samples(&resolve(chunks.clone(), merging).unwrap());
                assert!(merged.is_sorted_by(|one, next| one.0 < next.0));
                if merging == Merging::All {
                    let wanted: Vec<_> =
                        (0..20).map(|time| (time, if time < from { 1.0 } else { 2.0 })).collect();
                    assert_eq!(merged, wanted, "{places:?}");
                }
            }
        }
        // Of two that begin and end together, too, whatever the order of their data.
        for value in [1.0, 3.0] {
            let chunks = vec![at(2, &chunk(0..10, value)), at(1, &chunk(0..10, 2.0))];
            let merged = samples(&resolve(chunks, Merging::All).unwrap());
            assert_eq!(merged, (0..10).map(|time| (time, 2.0)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn copies_of_several_stores_come_once_and_are_not_encoded_anew() {
        let chunks = [chunk(0..150, 1.0), chunk(150..160, 2.0)];
        let mut placed: Vec<_> =
            [2, 0, 1].iter().flat_map(|place| chunks.iter().map(|chunk| at(*place, chunk))).collect();
        placed.sort();
        let placed = Placed::new(placed);
        assert_eq!(placed.merging_bytes(), 0);
        assert_eq!(placed.resolve(Merging::All).unwrap(), chunks);
        // Histograms are copies of each other, too.
        let histogram = Chunk::new(0, 9, vec![2, 0, 1]);
        assert_eq!(resolve(vec![at(1, &histogram), histogram.clone()], Merging::All).unwrap(), [histogram]);
    }

    #[test]
    fn what_merging_takes_is_known_before() {
        let chunks = vec![chunk(0..100, 1.0), chunk(50..200, 2.0), chunk(300..400, 3.0)];
        let bytes = Placed::new(chunks.clone()).merging_bytes();
        assert!(bytes >= 250 * 2 * size_of::<Sample>(), "{bytes}");
        let merged: usize = resolve(chunks, Merging::All).unwrap().iter().map(|chunk| chunk.data.len()).sum();
        assert!(merged < bytes);
    }

    #[test]
    fn samples_out_of_order_are_an_error() {
        let wrong = chunk([5, 4, 3], 1.0);
        assert!(matches!(
            resolve(vec![Chunk { min_time_ms: 0, max_time_ms: 5, ..wrong }, chunk(4..9, 1.0)], Merging::All),
            Err(OverlapError::Chunk(Problem::Invalid(_)))
        ));
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
