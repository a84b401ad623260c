use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec;

use losertree::resource::{ByteLease, ReaderGuard, Reservation};
use losertree::{Chunk, Labels, LabelsBuilder, Series};

use super::block::{Block, Selector};
use super::cursor::{Cursor, check_crc};
use super::file::BlockFile;
use super::memory::Memory;
use super::replica::Replica;
use super::select::Selection;
use super::series_entry::{ChunkMeta, SeriesEntry};
use super::window::Window;
use super::xor::{self, XorEncoder};
use super::{BlockError, Interval, Problem};

/// Chunks that are so near to each other in a file are read together.
const GAP_BYTES: u64 = 4 << 10;
/// How much is read for a chunk of unknown length, which is the last one of those that are read together.
const GUESS_BYTES: u64 = 1 << 10;
/// The most series of a batch.
const BATCH_SERIES: usize = 512;
/// The shortest window on the index.
pub(crate) const WINDOW_BYTES: usize = 16 << 10;
/// The number of the encoding of chunks that can be decoded here.
const XOR: u8 = 1;
/// The checksum behind a chunk.
const CRC_BYTES: usize = 4;
/// The longest length before a chunk.
const LEN_BYTES: u64 = 5;

/// Reads what a query selects of one block, in batches of series in the order of their labels. Blocks the thread.
///
/// The data of a chunk is the number of its encoding in one byte, and then the chunk as it is in the block: whole, though the range of
/// the query may begin or end in it. Where labels are taken off by which replicas differ, it is marked with the replica besides. Chunks that a tombstone cuts are encoded anew; chunks without samples, and series without
/// chunks, are left out. Chunks of native histograms are not decoded, and are an error where a tombstone cuts them.
///
/// # Memory
///
/// Between two batches it holds a buffer for the index and a number of 4 bytes for each series that was selected. With labels
/// that are added or taken off, also those series that may have to change places: all that have the same first label, or
/// none that comes before those by its name. The chunks of a batch are in one buffer, which comes back when the last of them is dropped.
pub struct BlockReader {
    selector: Selector,
    memory: Memory,
    buffer_bytes: usize,
    labels: LabelsBuilder,
    encoder: XorEncoder,
    planned: Option<Planned>,
    stage: Stage,
    stop: Arc<AtomicBool>,
    block: Arc<Block>,
    // The last one: who has left the gate holds nothing.
    _guard: ReaderGuard,
}

enum Stage {
    New,
    Reading(Box<Progress>),
    Ended,
}

/// What is held from the first batch on, to the last one.
struct Progress {
    held: Reservation,
    window: Window,
    series: vec::IntoIter<u32>,
    /// Series that are sorted by their final labels, and come before all others.
    group: VecDeque<(Labels, u32, Option<Replica>)>,
    group_bytes: usize,
}

/// A series whose chunks are to be read.
struct Planned {
    labels: Labels,
    replica: Option<Replica>,
    series: u32,
    chunks: Vec<ChunkMeta>,
}

/// A part of a file to be read at once.
struct Extent {
    segment: u32,
    start: u64,
    /// Where the last chunk of it begins.
    last: u64,
}

impl Extent {
    const fn guess(&self) -> u64 {
        self.last + GUESS_BYTES - self.start
    }
}

/// Series whose chunks are read together.
#[derive(Default)]
struct Batch {
    /// With the number of the extent that has each chunk.
    series: Vec<(Planned, Vec<usize>)>,
    extents: Vec<Extent>,
    /// How much is to be read, if chunks are as long as is guessed.
    bytes: u64,
}

impl Batch {
    /// Adds a series, or gives it back if that would be more than the limit and it is not the first.
    fn add(&mut self, planned: Planned, limit: u64) -> Option<Planned> {
        let before = (self.extents.len(), self.extents.last().map(|last| last.last), self.bytes);
        let mut places = Vec::with_capacity(planned.chunks.len());
        for chunk in &planned.chunks {
            let offset = u64::from(chunk.offset);
            match self.extents.last_mut() {
                Some(last)
                    if last.segment == chunk.segment
                        && (last.last..=last.last + GUESS_BYTES + GAP_BYTES).contains(&offset) =>
                {
                    self.bytes += offset - last.last;
                    last.last = offset;
                }
                _ => {
                    self.bytes += GUESS_BYTES;
                    self.extents.push(Extent { segment: chunk.segment, start: offset, last: offset });
                }
            }
            places.push(self.extents.len() - 1);
        }
        if self.bytes > limit && !self.series.is_empty() {
            let (extents, last, bytes) = before;
            self.extents.truncate(extents);
            if let (Some(extent), Some(last)) = (self.extents.last_mut(), last) {
                extent.last = last;
            }
            self.bytes = bytes;
            return Some(planned);
        }
        self.series.push((planned, places));
        None
    }
}

impl BlockReader {
    pub(super) fn new(
        block: Arc<Block>,
        guard: ReaderGuard,
        selector: Selector,
        memory: Memory,
        buffer_bytes: usize,
    ) -> Self {
        let (labels, encoder) = (LabelsBuilder::new(), XorEncoder::new());
        Self {
            selector,
            memory,
            buffer_bytes,
            labels,
            encoder,
            planned: None,
            stage: Stage::New,
            stop: Arc::default(),
            block,
            _guard: guard,
        }
    }

    /// Returns what stops it, from another thread: it is an error then, as soon as it is seen.
    pub(super) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Reads the next series; `None` is the end.
    ///
    /// # Errors
    ///
    /// [`BlockError`], after which there is no more.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Series>>, BlockError> {
        // An error is an end.
        let mut progress = match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::New => Box::new(self.start()?),
            Stage::Reading(progress) => progress,
            Stage::Ended => return Ok(None),
        };
        loop {
            let batch = self.plan(&mut progress)?;
            if batch.series.is_empty() {
                return Ok(None);
            }
            let batch = self.read(batch)?;
            if !batch.is_empty() {
                self.stage = Stage::Reading(progress);
                return Ok(Some(batch));
            }
        }
    }

    /// Finds out which series are selected.
    fn start(&mut self) -> Result<Progress, BlockError> {
        let index = &self.block.index;
        let window = Window::new(&self.memory, self.buffer_bytes.max(WINDOW_BYTES));
        let mut window = window.map_err(|error| index.file.error(0, error))?;
        let mut held = self.memory.lists.reservation();
        let series = if self.block.can_match(&self.selector) {
            let mut selection = Selection {
                index,
                window: &mut window,
                memory: &self.memory,
                held: &mut held,
                stop: &self.stop,
            };
            selection.select(&self.selector.matchers, &self.block.external)?
        } else {
            Vec::new()
        };
        Ok(Progress { held, window, series: series.into_iter(), group: VecDeque::new(), group_bytes: 0 })
    }

    /// Chooses the series of the next batch.
    fn plan(&mut self, progress: &mut Progress) -> Result<Batch, BlockError> {
        let mut batch = Batch::default();
        while batch.series.len() < BATCH_SERIES {
            let next = match self.planned.take() {
                Some(planned) => Some(planned),
                None => self.next_planned(progress)?,
            };
            let Some(planned) = next else { break };
            self.planned = batch.add(planned, self.buffer_bytes as u64);
            if self.planned.is_some() {
                break;
            }
        }
        Ok(batch)
    }

    /// The next series, in the order of final labels, that has chunks in the range.
    fn next_planned(&mut self, progress: &mut Progress) -> Result<Option<Planned>, BlockError> {
        loop {
            // Many may have nothing in the range.
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.block.index.file.error(0, Problem::Stopped));
            }
            let next = if self.block.external.is_empty() && self.selector.without.is_empty() {
                let Some(series) = progress.series.next() else { return Ok(None) };
                self.decode(progress, series, None)?
            } else {
                if progress.group.is_empty() {
                    self.next_group(progress)?;
                }
                let Some((labels, series, replica)) = progress.group.pop_front() else { return Ok(None) };
                self.decode(progress, series, Some((labels, replica)))?
            };
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Reads a series of the index. The labels may be known, and with them which replica has it.
    fn decode(
        &mut self,
        progress: &mut Progress,
        series: u32,
        known: Option<(Labels, Option<Replica>)>,
    ) -> Result<Option<Planned>, BlockError> {
        let index = &self.block.index;
        let entry = SeriesEntry::read(index, &mut progress.window, series)?;
        let mut chunks = Vec::new();
        let builder = known.is_none().then(|| {
            self.labels.clear();
            &mut self.labels
        });
        entry.decode(builder, self.selector.range, &mut chunks)?;
        let deleted = self.block.tombstones.of(series.into());
        chunks.retain(|chunk| !deleted.iter().any(|deleted| deleted.covers(chunk.range)));
        if chunks.is_empty() {
            return Ok(None);
        }
        let (labels, replica) = if let Some(known) = known {
            known
        } else {
            let built = self.labels.build();
            (built.map_err(|problem| index.file.error(u64::from(series), problem))?, None)
        };
        Ok(Some(Planned { labels, replica, series, chunks }))
    }

    /// Reads the labels of all series that may have to change places, and puts them in the order of their final labels.
    ///
    /// A series whose first label comes, by its name, before all that are added or taken off keeps it as its first one. So those stay in order
    /// that differ in it, and before all others.
    fn next_group(&mut self, progress: &mut Progress) -> Result<(), BlockError> {
        let Self { block, memory, labels, selector, stop, .. } = self;
        let Progress { held, window, series, group, group_bytes } = progress;
        held.shrink(mem::take(group_bytes));
        let external = &block.external;
        let changed = external.keys().chain(&*selector.without);
        let least = changed.map(String::as_str).min();
        let mut first: Option<Option<(&str, &str)>> = None;
        while let Some(next) = series.as_slice().first() {
            if stop.load(Ordering::Relaxed) {
                return Err(block.index.file.error(0, Problem::Stopped));
            }
            let entry = SeriesEntry::read(&block.index, window, *next)?;
            let own = entry.first_label()?.filter(|(name, _)| least.is_none_or(|least| *name < least));
            if *first.get_or_insert(own) != own {
                break;
            }
            labels.clear();
            // No range has no chunks.
            entry.decode(Some(labels), Interval::new(i64::MAX, i64::MIN), &mut Vec::new())?;
            for (name, value) in external {
                labels.set(name, value);
            }
            let value = |name: &String| match external.get(name) {
                Some(value) => Ok(value.as_str()),
                None => entry.label(name).map(Option::unwrap_or_default),
            };
            let replica = Replica::of(selector.without.iter().map(value).collect::<Result<Vec<_>, _>>()?);
            for name in &*selector.without {
                labels.set(name, "");
            }
            labels.without_empty_values();
            let error = |problem: Problem| block.index.file.error(u64::from(*next), problem);
            let labels = labels.build().map_err(|problem| error(problem.into()))?;
            let bytes = size_of::<(Labels, u32, Option<Replica>)>() + 16 + labels.packed().len();
            memory.charge(held, bytes).map_err(|problem| error(problem.into()))?;
            *group_bytes += bytes;
            group.push_back((labels, *next, replica));
            series.next();
        }
        let group = group.make_contiguous();
        if !group.is_sorted() {
            group.sort();
        }
        Ok(())
    }

    /// Reads the chunks of a batch into one buffer.
    fn read(&mut self, batch: Batch) -> Result<Vec<Series>, BlockError> {
        let Batch { series: planned, extents, bytes: guess } = batch;
        // What is encoded anew is put behind.
        let is_cut = planned
            .iter()
            .any(|(planned, _)| planned.chunks.iter().any(|chunk| self.is_cut(planned.series, chunk.range)));
        let wanted = usize::try_from(if is_cut { guess * 2 } else { guess }).unwrap_or(usize::MAX);
        let segments = &self.block.segments;
        let error = |problem: Problem| BlockError::new(&self.block.dir, 0, problem);
        let mut lease = self.memory.lease(wanted).map_err(|refused| error(refused.into()))?;
        let mut bases = Vec::with_capacity(extents.len());
        for extent in &extents {
            let file = segments.get(extent.segment, extent.last as u32).map_err(error)?;
            bases.push(lease.len());
            read_extent(file, extent, &mut lease)?;
        }
        let data_end = lease.len();
        let mut series: Vec<Vec<(Interval, Range<usize>)>> = Vec::with_capacity(planned.len());
        for (planned, places) in &planned {
            let deleted = self.block.tombstones.of(planned.series.into());
            let mut chunks = Vec::with_capacity(planned.chunks.len());
            for (chunk, place) in planned.chunks.iter().zip(places) {
                let extent = &extents[*place];
                let file = segments.get(chunk.segment, chunk.offset).map_err(error)?;
                let start = bases[*place] + (u64::from(chunk.offset) - extent.start) as usize;
                let end = bases.get(place + 1).copied().unwrap_or(data_end);
                let fail = |problem| file.error(chunk.offset.into(), problem);
                let data = chunk_data(&lease[..end], start).map_err(fail)?;
                if self.is_cut(planned.series, chunk.range) {
                    let cut = cut(&mut self.encoder, &mut lease, data, deleted);
                    chunks.extend(cut.map_err(fail)?);
                } else {
                    chunks.push((chunk.range, data));
                }
            }
            series.push(chunks);
        }
        // All of them are checked: what is beside them is not needed any more.
        for ((planned, _), chunks) in planned.iter().zip(&mut series) {
            let Some(replica) = planned.replica else { continue };
            for (_, data) in chunks {
                let marked = replica.mark(&mut lease, data.clone());
                *data =
                    marked.ok_or_else(|| error(Problem::Invalid("a chunk without room for its replica")))?;
            }
        }
        let bytes = lease.freeze();
        let named = planned.into_iter().zip(series).filter(|(_, chunks)| !chunks.is_empty()).map(
            |((planned, _), chunks)| {
                let chunk = |(range, data): (Interval, Range<usize>)| {
                    Chunk::new(range.min_ms, range.max_ms, bytes.slice(data))
                };
                Series::new(planned.labels, chunks.into_iter().map(chunk).collect())
            },
        );
        Ok(named.collect())
    }

    /// Whether some samples of a chunk may have to be left out.
    fn is_cut(&self, series: u32, range: Interval) -> bool {
        self.block.tombstones.of(series.into()).iter().any(|deleted| deleted.overlaps(range))
    }
}

/// Reads a part of a file to the end of its last chunk.
fn read_extent(file: &BlockFile, extent: &Extent, lease: &mut ByteLease) -> Result<(), BlockError> {
    let base = lease.len();
    let error = |problem: Problem| file.error(extent.last, problem);
    let available = file.len() - extent.start;
    let mut read = 0;
    let mut wanted = extent.guess().min(available);
    loop {
        let more = (wanted - read) as usize;
        if more > lease.remaining() {
            let needed = lease.len() + more;
            lease.try_resize(needed).map_err(|refused| error(refused.into()))?;
        }
        lease.read_from(file.reader(extent.start + read), more).map_err(|failed| error(failed.into()))?;
        read = wanted;
        let last = base + (extent.last - extent.start) as usize;
        let mut cursor = Cursor::new(&lease[last..]);
        let len = cursor.uvarint("a chunk").map_err(error)?;
        let rest = cursor.position() as u64 + 1 + CRC_BYTES as u64;
        let whole = extent.last - extent.start + rest;
        let whole = whole.checked_add(len).filter(|whole| *whole <= available);
        let whole = whole.ok_or_else(|| {
            error(Problem::Truncated {
                what: "a chunk",
                len,
                available: available - (extent.last - extent.start),
            })
        })?;
        if whole <= read {
            return Ok(());
        }
        wanted = whole;
    }
}

/// Checks a chunk, and returns where its encoding and its data are.
fn chunk_data(bytes: &[u8], start: usize) -> Result<Range<usize>, Problem> {
    let mut cursor = Cursor::new(bytes.get(start..).unwrap_or_default());
    let len = cursor.uvarint("a chunk")?;
    if cursor.position() as u64 > LEN_BYTES {
        return Err(Problem::Number);
    }
    let from = start + cursor.position();
    let data = cursor.take(len.saturating_add(1), "a chunk")?;
    check_crc(data, cursor.u32("a chunk")?, "a chunk")?;
    // Others have a meaning of their own here.
    if data.first().is_none_or(|encoding| !(1..0x80).contains(encoding)) {
        return Err(Problem::Invalid("a chunk of no encoding"));
    }
    Ok(from..from + data.len())
}

/// Encodes anew what is left of a chunk, behind all else in the buffer.
fn cut(
    encoder: &mut XorEncoder,
    lease: &mut ByteLease,
    data: Range<usize>,
    deleted: &[Interval],
) -> Result<Option<(Interval, Range<usize>)>, Problem> {
    let encoding = lease[data.start];
    let is_deleted = |time_ms| deleted.iter().any(|deleted| deleted.contains(time_ms));
    if encoding != XOR {
        return Err(Problem::Encoding { encoding });
    }
    encoder.clear();
    let mut kept: Option<Interval> = None;
    for sample in xor::decode(&lease[data.start + 1..data.end])? {
        let sample = sample?;
        if !is_deleted(sample.time_ms) {
            encoder.push(sample);
            kept.get_or_insert(Interval::new(sample.time_ms, sample.time_ms)).max_ms = sample.time_ms;
        }
    }
    let Some(kept) = kept else { return Ok(None) };
    let chunk = encoder.finish();
    let start = lease.len();
    // With room around it for its replica, as a chunk has that is read.
    let needed = 2 + chunk.len() + Replica::BYTES;
    if needed > lease.remaining() {
        lease.try_resize(start + needed)?;
    }
    let full = |_| Problem::Invalid("a buffer is too small");
    lease.extend_from_slice(&[0, XOR]).map_err(full)?;
    lease.extend_from_slice(chunk).map_err(full)?;
    lease.extend_from_slice(&[0; Replica::BYTES]).map_err(full)?;
    Ok(Some((kept, start + 1..start + 2 + chunk.len())))
}

impl fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockReader")
            .field("block", &self.block)
            .field("selector", &self.selector)
            .finish_non_exhaustive()
    }
}
