//! Chunks of a series that overlap, made ones that do not.

use std::collections::BTreeMap;

use bytes::Bytes;
use losertree::{Chunk, merge_by_key};

use crate::block::xor::{self, Sample, XorEncoder};
use crate::block::{Problem, Replica};

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
    /// Not at all: that is left to who asks. Identical chunks come once.
    None,
    /// All of them: the chunks are of one source, or of copies of it.
    All,
    /// The chunks are of replicas, which see the same at different moments: those of one, until it has a gap.
    Replicas,
}

/// The place of a store among all.
///
/// Chunks do not keep their store when those of equal series are merged. So the chunk itself says which it is: before its data, where it
/// is not the first one. The encoding of the chunk follows, which is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u16);

const PLACED: u8 = 0;
const PLACE_BYTES: usize = 3;

impl Place {
    /// The data of a chunk of a store at this place, and of a replica.
    pub(crate) fn mark(self, replica: Option<Replica>, encoding: u8, data: &[u8]) -> Bytes {
        let [high, low] = self.0.to_be_bytes();
        let chunk =
            replica.map_or_else(|| [&[encoding], data].concat(), |replica| replica.marked(encoding, data));
        if self == Self(0) { chunk.into() } else { [&[PLACED, high, low], &*chunk].concat().into() }
    }
}

/// A chunk as a store has it, and whose it is.
struct Placed {
    place: Place,
    replica: Option<Replica>,
    chunk: Chunk,
}

impl Placed {
    /// Takes the marks off a chunk.
    fn new(mut chunk: Chunk) -> Self {
        let mut place = Place(0);
        if let [PLACED, high, low, ..] = *chunk.data {
            place = Place(u16::from_be_bytes([high, low]));
            chunk.data = chunk.data.slice(PLACE_BYTES..);
        }
        let replica = Replica::take(&mut chunk.data);
        Self { place, replica, chunk }
    }

    /// The samples, in the order of their times.
    fn samples(&self) -> Result<Vec<Sample>, OverlapError> {
        let (encoding, data) = self.chunk.data.split_first().unwrap_or((&0, &[]));
        if *encoding != XOR {
            return Err(OverlapError::Encoding { encoding: *encoding });
        }
        let mut samples = Vec::with_capacity(xor::count(data));
        let Chunk { min_time_ms, max_time_ms, .. } = self.chunk;
        for sample in xor::decode(data)? {
            let sample = sample?;
            let is_next = samples.last().is_none_or(|last: &Sample| last.time_ms < sample.time_ms);
            if !is_next || sample.time_ms < min_time_ms || max_time_ms < sample.time_ms {
                return Err(Problem::Invalid("samples of a chunk out of order, or out of its range").into());
            }
            samples.push(sample);
        }
        Ok(samples)
    }

    fn is_xor(&self) -> bool {
        self.chunk.data.first() == Some(&XOR)
    }
}

/// The chunks of a series as stores have them.
pub(crate) struct Overlapping {
    chunks: Vec<Placed>,
    merging: Merging,
}

impl Overlapping {
    /// Takes chunks in the order of their times, as [`ProxyQuery`](losertree::response::ProxyQuery) gives them. Of identical ones,
    /// that of the first store is kept.
    pub(crate) fn new(chunks: Vec<Chunk>, merging: Merging) -> Self {
        let mut chunks: Vec<_> = chunks.into_iter().map(Placed::new).collect();
        if !chunks.is_sorted_by(|one, next| one.chunk.max_time_ms < next.chunk.min_time_ms) {
            chunks.sort_by(|one, next| one.chunk.cmp(&next.chunk).then(one.place.cmp(&next.place)));
            chunks.dedup_by(|next, one| next.chunk == one.chunk);
        }
        Self { chunks, merging }
    }

    /// How many bytes it can take to merge those that overlap, at most: what they are decoded to, merged, and encoded to.
    pub(crate) fn merging_bytes(&self) -> usize {
        const SAMPLE_BYTES: usize = size_of::<Sample>();
        if self.merging == Merging::None {
            return 0;
        }
        let mut before: Option<&Placed> = None;
        let mut samples = 0;
        for group in Groups(&self.chunks) {
            let may_pass = |alone: &Placed| {
                self.merging == Merging::All
                    || before
                        .is_none_or(|before| (before.place, before.replica) == (alone.place, alone.replica))
            };
            if !matches!(group, [alone] if may_pass(alone)) {
                let data = group.iter().map(|placed| placed.chunk.data.get(1..).unwrap_or_default());
                samples += data.map(xor::count).sum::<usize>();
            }
            before = group.last();
        }
        samples * (2 * SAMPLE_BYTES + xor::LONGEST_SAMPLE_BYTES)
    }

    /// Merges chunks that overlap. Of samples of one moment, that of the first store is kept, and within a store that of the
    /// chunk that comes first. Of replicas, samples of one are kept until it has a gap, over the whole series.
    pub(crate) fn resolve(self) -> Result<Vec<Chunk>, OverlapError> {
        let mut resolved = Vec::with_capacity(self.chunks.len());
        match self.merging {
            Merging::None => resolved.extend(self.chunks.into_iter().map(|placed| placed.chunk)),
            Merging::All => {
                for group in Groups(&self.chunks) {
                    if let [alone] = group {
                        resolved.push(alone.chunk.clone());
                    } else {
                        encode(&all(group.iter())?, &mut resolved);
                    }
                }
            }
            Merging::Replicas => {
                let mut stay = Stay::new(&self.chunks);
                for group in Groups(&self.chunks) {
                    stay.group(group, &mut resolved)?;
                }
            }
        }
        Ok(resolved)
    }
}

/// Chunks that overlap, or one that overlaps no other.
struct Groups<'a>(&'a [Placed]);

impl<'a> Iterator for Groups<'a> {
    type Item = &'a [Placed];

    fn next(&mut self) -> Option<Self::Item> {
        let mut end_ms = self.0.first()?.chunk.max_time_ms;
        let overlapping = self.0[1..].iter().take_while(|next| {
            let overlaps = next.chunk.min_time_ms <= end_ms;
            end_ms = end_ms.max(next.chunk.max_time_ms);
            overlaps
        });
        let (group, rest) = self.0.split_at(1 + overlapping.count());
        self.0 = rest;
        Some(group)
    }
}

/// All samples of chunks, in the order of their times, and at one moment in that of the stores.
fn all<'a>(chunks: impl Iterator<Item = &'a Placed>) -> Result<Vec<Sample>, OverlapError> {
    let mut chunks: Vec<_> = chunks.collect();
    chunks.sort_by_key(|placed| placed.place);
    let samples = chunks.into_iter().map(Placed::samples).collect::<Result<Vec<_>, _>>()?;
    let mut all: Vec<Sample> = merge_by_key(samples, |sample: &Sample| sample.time_ms).collect();
    all.dedup_by_key(|sample| sample.time_ms);
    Ok(all)
}

/// What samples are of one replica: those of chunks that say so, or of chunks of one store that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    /// The first store that has it.
    place: Place,
    replica: Option<Replica>,
    /// Without a name, which of those that follow one another.
    chain: usize,
}

/// Takes samples of one replica until it has a gap: the others are put back by twice the distance of the last two samples.
///
/// The rule is that of Thanos' deduplication, `pkg/dedup/iter.go` of thanos-io/thanos, without what it does to counters. Two things are
/// better than there. The distance of the first sample is that to the next one of its replica, so the second sample is not too near. And
/// what was put back by much, after a gap, is looked at again when the distance is less, so that a second gap is filled.
struct Stay<'a> {
    chunks: &'a [Placed],
    /// The first store of each replica.
    homes: BTreeMap<Replica, Place>,
    last: Option<Last<'a>>,
}

/// The last sample that was taken.
struct Last<'a> {
    origin: Origin,
    time_ms: i64,
    distance: Distance<'a>,
}

/// How far it is from the one before it.
#[derive(Clone, Copy)]
enum Distance<'a> {
    Unknown,
    Known(i64),
    /// It is the last sample of a chunk that was taken whole; with the sample before the chunk.
    In(&'a Placed, Option<i64>),
}

/// What others are put back by when no distance is known.
const FIRST_PENALTY_MS: i64 = 5_000;

impl<'a> Stay<'a> {
    fn new(chunks: &'a [Placed]) -> Self {
        let mut homes = BTreeMap::new();
        for placed in chunks {
            if let Some(replica) = placed.replica {
                let home = homes.entry(replica).or_insert(placed.place);
                *home = placed.place.min(*home);
            }
        }
        Self { chunks, homes, last: None }
    }

    /// Takes what is to be taken of chunks that overlap, or of one that overlaps no other.
    fn group(&mut self, group: &'a [Placed], resolved: &mut Vec<Chunk>) -> Result<(), OverlapError> {
        let mut chains: Vec<(Origin, i64, Vec<&Placed>)> = Vec::new();
        for placed in group {
            let Chunk { min_time_ms, max_time_ms, .. } = placed.chunk;
            let mut origin = self.origin(placed);
            // A chunk without a name goes to the first chain that ends before it begins.
            let goes_on = |(of, end_ms, _): &&mut (Origin, i64, _)| {
                (of.place, of.replica) == (origin.place, origin.replica)
                    && (origin.replica.is_some() || *end_ms < min_time_ms)
            };
            if let Some((_, end_ms, chunks)) = chains.iter_mut().find(goes_on) {
                *end_ms = max_time_ms;
                chunks.push(placed);
            } else {
                let is_same = |of: &Origin| (of.place, of.replica) == (origin.place, origin.replica);
                origin.chain = chains.iter().filter(|(of, ..)| is_same(of)).count();
                chains.push((origin, max_time_ms, vec![placed]));
            }
        }
        if let ([alone], [(origin, ..)]) = (group, &chains[..])
            && (!alone.is_xor()
                || self.begins_after(*origin)?.is_none_or(|from_ms| from_ms < alone.chunk.min_time_ms))
        {
            let time_ms = alone.chunk.max_time_ms;
            let distance = match &self.last {
                None if alone.chunk.min_time_ms == time_ms => self.first_distance(*origin, time_ms, None),
                last => Distance::In(alone, last.as_ref().map(|last| last.time_ms)),
            };
            self.last = Some(Last { origin: *origin, time_ms, distance });
            resolved.push(alone.chunk.clone());
            return Ok(());
        }
        // Where all else is equal, the first one is taken.
        chains.sort_by_key(|(origin, ..)| *origin);
        let samples =
            |(origin, _, chunks): (Origin, i64, Vec<&Placed>)| Ok((origin, all(chunks.into_iter())?));
        let samples = chains.into_iter().map(samples).collect::<Result<Vec<_>, OverlapError>>()?;
        encode(&self.samples(&samples)?, resolved);
        Ok(())
    }

    fn origin(&self, placed: &Placed) -> Origin {
        let home = placed.replica.and_then(|replica| self.homes.get(&replica));
        Origin { place: *home.unwrap_or(&placed.place), replica: placed.replica, chain: 0 }
    }

    /// The distance of the first sample: that to the next one of its replica, in this chunk or a later one.
    fn first_distance(&self, origin: Origin, time_ms: i64, next_ms: Option<i64>) -> Distance<'a> {
        let is_next = |placed: &&Placed| {
            let of = self.origin(placed);
            (of.place, of.replica) == (origin.place, origin.replica) && placed.chunk.min_time_ms > time_ms
        };
        let later_ms = || self.chunks.iter().find(is_next).map(|placed| placed.chunk.min_time_ms);
        next_ms.or_else(later_ms).map_or(Distance::Unknown, |next_ms| {
            Distance::Known(next_ms.saturating_sub(time_ms).max(FIRST_PENALTY_MS / 2))
        })
    }

    /// The time after which a sample has to be to be taken.
    fn begins_after(&self, origin: Origin) -> Result<Option<i64>, OverlapError> {
        let Some(last) = &self.last else { return Ok(None) };
        let penalty_ms = if last.origin == origin { 0 } else { last.penalty_ms()? };
        Ok(Some(last.time_ms.saturating_add(penalty_ms)))
    }

    fn samples(&mut self, replicas: &[(Origin, Vec<Sample>)]) -> Result<Vec<Sample>, OverlapError> {
        let mut rest: Vec<_> =
            replicas.iter().map(|(origin, samples)| (*origin, samples.as_slice())).collect();
        let mut taken = Vec::with_capacity(rest.iter().map(|(_, rest)| rest.len()).max().unwrap_or_default());
        loop {
            let mut first: Option<(Origin, &[Sample])> = None;
            for (origin, rest) in &mut rest {
                // Whatever it is put back by now, it may be less next time.
                *rest = after(rest, self.last.as_ref().map(|last| last.time_ms));
                let from = after(rest, self.begins_after(*origin)?);
                let is_first =
                    |sample: &Sample| first.is_none_or(|(_, from)| sample.time_ms < from[0].time_ms);
                if from.first().is_some_and(is_first) {
                    first = Some((*origin, from));
                }
            }
            let Some((origin, [sample, next @ ..])) = first else { return Ok(taken) };
            let distance = match &self.last {
                Some(last) => Distance::Known(sample.time_ms.saturating_sub(last.time_ms)),
                None => self.first_distance(origin, sample.time_ms, next.first().map(|next| next.time_ms)),
            };
            self.last = Some(Last { origin, time_ms: sample.time_ms, distance });
            taken.push(*sample);
        }
    }
}

/// The samples after a moment, if there is one.
fn after(samples: &[Sample], time_ms: Option<i64>) -> &[Sample] {
    let skipped = time_ms.map_or(0, |time_ms| samples.partition_point(|sample| sample.time_ms <= time_ms));
    &samples[skipped..]
}

impl Last<'_> {
    /// What samples of other replicas are put back by.
    fn penalty_ms(&self) -> Result<i64, OverlapError> {
        let distance_ms = match self.distance {
            Distance::Known(distance_ms) => Some(distance_ms),
            Distance::In(placed, before_ms) if placed.is_xor() => {
                let (mut last_ms, mut distance_ms) = (before_ms, None);
                for sample in xor::decode(&placed.chunk.data[1..])? {
                    let time_ms = sample?.time_ms;
                    distance_ms = last_ms.map(|last_ms: i64| time_ms.saturating_sub(last_ms));
                    last_ms = Some(time_ms);
                }
                distance_ms
            }
            Distance::Unknown | Distance::In(..) => None,
        };
        Ok(distance_ms.map_or(FIRST_PENALTY_MS, |distance_ms| distance_ms.saturating_mul(2)))
    }
}

/// Encodes samples, of which no two are of one moment.
fn encode(samples: &[Sample], resolved: &mut Vec<Chunk>) {
    let mut encoder = XorEncoder::new();
    let mut range: Option<(i64, i64)> = None;
    let mut finish = |encoder: &mut XorEncoder, range: &mut Option<(i64, i64)>| {
        if let Some((min_ms, max_ms)) = range.take() {
            let data = [&[XOR], encoder.finish()].concat();
            resolved.push(Chunk::new(min_ms, max_ms, Bytes::from(data)));
        }
    };
    for sample in samples {
        if encoder.len() == SAMPLES {
            finish(&mut encoder, &mut range);
        }
        encoder.push(*sample);
        range.get_or_insert((sample.time_ms, sample.time_ms)).1 = sample.time_ms;
    }
    finish(&mut encoder, &mut range);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_precision_loss)]
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
        Overlapping::new(chunks, merging).resolve()
    }

    fn at(place: u16, chunk: &Chunk) -> Chunk {
        Chunk { data: Place(place).mark(None, chunk.data[0], &chunk.data[1..]), ..chunk.clone() }
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
        let placed = Overlapping::new(placed, Merging::All);
        assert_eq!(placed.merging_bytes(), 0);
        assert_eq!(placed.resolve().unwrap(), chunks);
        // Histograms are copies of each other, too.
        let histogram = Chunk::new(0, 9, vec![2, 0, 1]);
        assert_eq!(resolve(vec![at(1, &histogram), histogram.clone()], Merging::All).unwrap(), [histogram]);
    }

    #[test]
    fn who_merges_by_itself_has_chunks_as_they_are_without_marks() {
        let (one, two) = (chunk(0..100, 1.0), chunk(50..200, 2.0));
        let marked = Chunk { data: Place(2).mark(Replica::of(["a"]), XOR, &one.data[1..]), ..one.clone() };
        let chunks = Overlapping::new(vec![at(1, &one), marked, at(1, &two)], Merging::None);
        assert_eq!(chunks.merging_bytes(), 0);
        assert_eq!(chunks.resolve().unwrap(), [one, two]);
    }

    #[test]
    fn what_merging_takes_is_known_before() {
        let chunks = vec![chunk(0..100, 1.0), chunk(50..200, 2.0), chunk(300..400, 3.0)];
        let bytes = Overlapping::new(chunks.clone(), Merging::All).merging_bytes();
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
        assert!(gaps.iter().all(|gap| (60_000..=3 * 60_000).contains(gap)), "{gaps:?}");
        assert!(merged.len() >= 57, "{}", merged.len());
        // It changes replicas only where one has a gap.
        let changes = merged.windows(2).filter(|pair| pair[0].1.to_bits() != pair[1].1.to_bits()).count();
        assert_eq!(changes, 2);
        // Copies are one.
        let copies = vec![chunk(times(0, 50, 0), 1.0), chunk(times(10, 50, 0), 1.0)];
        assert_eq!(samples(&resolve(copies, Merging::Replicas).unwrap()).len(), 50);
    }

    fn of(replica: &str, chunk: &Chunk) -> Chunk {
        let replica = Replica::of([replica]);
        Chunk { data: Place(0).mark(replica, chunk.data[0], &chunk.data[1..]), ..chunk.clone() }
    }

    /// Minutes, with an offset in milliseconds.
    fn minutes(from: i64, to: i64, offset_ms: i64) -> impl Iterator<Item = i64> {
        (from..to).map(move |minute| minute * 60_000 + offset_ms)
    }

    #[test]
    fn another_replica_is_put_back_where_no_chunks_overlap_too() {
        let one = chunk(minutes(0, 10, 0), 1.0);
        // The first samples are nearer than two scrapes; the rest is encoded anew.
        let near = chunk(minutes(9, 20, 7_000), 2.0);
        let merged = samples(&resolve(vec![of("a", &one), of("b", &near)], Merging::Replicas).unwrap());
        let wanted = minutes(0, 10, 0).map(|time_ms| (time_ms, 1.0));
        let wanted: Vec<_> = wanted.chain(minutes(11, 20, 7_000).map(|time_ms| (time_ms, 2.0))).collect();
        assert_eq!(merged, wanted);
        // One that comes later is taken as it is, and so is one of the same replica.
        for (name, next) in [("b", chunk(minutes(11, 20, 7_000), 2.0)), ("a", chunk(minutes(10, 20, 0), 1.0))]
        {
            let chunks = Overlapping::new(vec![of("a", &one), of(name, &next)], Merging::Replicas);
            assert_eq!(chunks.merging_bytes() > 0, name == "b", "it may have to be cut");
            assert_eq!(chunks.resolve().unwrap(), [one.clone(), next]);
        }
    }

    #[test]
    fn chunks_know_their_replica_wherever_they_are() {
        // The first replica is gone from the 10th minute on. Without names the last chunk would be taken for one of it.
        let chunks = [
            ("a", chunk(minutes(0, 10, 0), 1.0)),
            ("b", chunk(minutes(0, 6, 7_000), 2.0)),
            ("b", chunk(minutes(9, 15, 7_000), 2.0)),
        ];
        let merge = |named: bool| {
            let marked = |(name, chunk): &(&str, Chunk)| if named { of(name, chunk) } else { chunk.clone() };
            samples(&resolve(chunks.iter().map(marked).collect(), Merging::Replicas).unwrap())
        };
        let near = |samples: &[(i64, f64)]| samples.windows(2).any(|pair| pair[1].0 - pair[0].0 < 60_000);
        assert!(near(&merge(false)) && !near(&merge(true)));
        // One replica in two stores is one: nothing of it is put back, and the first store's values are taken.
        let replica = Replica::of(["a"]);
        let at = |place: u16, chunk: &Chunk| Chunk {
            data: Place(place).mark(replica, chunk.data[0], &chunk.data[1..]),
            ..chunk.clone()
        };
        let chunks = vec![at(1, &chunk(minutes(0, 10, 0), 1.0)), at(0, &chunk(minutes(5, 15, 0), 2.0))];
        let wanted: Vec<_> =
            minutes(0, 15, 0).map(|time_ms| (time_ms, if time_ms < 300_000 { 1.0 } else { 2.0 })).collect();
        assert_eq!(samples(&resolve(chunks, Merging::Replicas).unwrap()), wanted);
    }

    /// The rule, on all samples of all replicas.
    fn rule(replicas: &[Vec<(i64, f64)>]) -> Vec<(i64, f64)> {
        let mut taken: Vec<(i64, f64)> = Vec::new();
        let (mut last, mut penalty_ms) = (usize::MAX, 0);
        loop {
            let first = |(number, samples): (usize, &Vec<(i64, f64)>)| {
                let from_ms =
                    taken.last().map(|(time_ms, _)| time_ms + if number == last { 0 } else { penalty_ms });
                let at = samples
                    .iter()
                    .position(|(time_ms, _)| from_ms.is_none_or(|from_ms| *time_ms > from_ms))?;
                Some((samples[at], number, samples.get(at + 1).copied()))
            };
            let firsts = replicas.iter().enumerate().filter_map(first);
            let Some((sample, number, next)) = firsts.min_by_key(|(sample, number, _)| (sample.0, *number))
            else {
                return taken;
            };
            penalty_ms = match (taken.last(), next) {
                (Some((before_ms, _)), _) => 2 * (sample.0 - before_ms),
                (None, Some((next_ms, _))) => (2 * (next_ms - sample.0)).max(5_000),
                (None, None) => 5_000,
            };
            last = number;
            taken.push(sample);
        }
    }

    #[test]
    fn however_samples_are_cut_into_chunks_the_rule_is_that_of_all() {
        let mut state = 7_u64;
        let mut random = move |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut whole = 0;
        for _ in 0..3_000 {
            let count = 1 + random(3) as usize;
            let mut chunks = Vec::new();
            let mut replicas = Vec::new();
            for number in 0..count {
                let mut samples = Vec::new();
                let mut time_ms = random(60_000).cast_signed();
                for _ in 0..random(40) {
                    samples.push((time_ms, number as f64));
                    let gap = if random(12) == 0 { 60_000 * random(20) } else { 0 };
                    time_ms += (15_000 + random(300) + gap).cast_signed();
                }
                // Replicas are in the order of their names, which are checksums.
                let mut rest = samples.as_slice();
                while !rest.is_empty() {
                    let (some, others) = rest.split_at((1 + random(9) as usize).min(rest.len()));
                    chunks.push((number, chunk(some.iter().map(|sample| sample.0), number as f64)));
                    rest = others;
                }
                replicas.push(samples);
            }
            let mut names: Vec<_> = (0..count).map(|number| Replica::of([&*format!("r{number}")])).collect();
            names.sort();
            let mut marked: Vec<_> = chunks
                .iter()
                .map(|(number, chunk)| Chunk {
                    data: Place(0).mark(names[*number], chunk.data[0], &chunk.data[1..]),
                    ..chunk.clone()
                })
                .collect();
            marked.sort();
            let overlapping = Overlapping::new(marked, Merging::Replicas);
            let resolved = overlapping.resolve().unwrap();
            assert!(resolved.is_sorted_by(|one, next| one.max_time_ms < next.min_time_ms));
            assert_eq!(samples(&resolved), rule(&replicas));
            whole +=
                resolved.iter().filter(|resolved| chunks.iter().any(|(_, chunk)| chunk == *resolved)).count();
        }
        assert!(whole > 1_000, "{whole} chunks were not touched");
    }
}
