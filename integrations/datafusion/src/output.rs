use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder, GenericByteArray,
    GenericByteBuilder, OffsetSizeTrait, PrimitiveArray, RecordBatch, downcast_primitive,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::{concat, interleave};
use arrow::datatypes::{
    ArrowNativeType, BinaryType, ByteArrayType, DataType, LargeBinaryType, LargeUtf8Type, SchemaRef, Utf8Type,
};
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, Result};
use datafusion_execution::memory_pool::MemoryReservation;

use crate::batch_bytes::batch_bytes;

/// How long runs are on average that are copied run by run. Shorter ones are put into place batch by batch.
const LONG: usize = 4;

/// How many rows there are for each batch at least where that is done.
const MANY: usize = 8;

/// How many places of a run are written at once, however long it is: how long cannot be predicted.
const AT_ONCE: usize = 4;

/// How long runs are on average that are concatenated as slices, in columns of strings and those that are otherwise gathered row by row.
const LONG_ROWS: usize = 16;

/// From how many neighbouring bits on they are copied as such.
const SHORT: usize = 8;

/// From how many neighbouring rows on they can come as a batch of their own, which has fewer rows than others.
const FEWEST_SLICED: usize = 1_024;

/// The rows that come next, as parts of the batches that they are in, which it holds and accounts for.
#[derive(Debug)]
pub(crate) struct Output {
    schema: SchemaRef,
    /// What of the batches is held by whom: each slot until all of its rows have been put out.
    slots: Vec<Option<Held>>,
    free: Vec<usize>,
    runs: Vec<Run>,
    rows: usize,
    batch_size: usize,
    /// How many rows a run has at least that comes as a batch of its own.
    sliced_rows: usize,
    /// Whether there is such a run.
    has_slice: bool,
    reservation: MemoryReservation,
    /// Whether batches are reserved for before they come, and until the end.
    are_reserved: bool,
}

#[derive(Debug)]
struct Held {
    batch: RecordBatch,
    /// What is reserved for it.
    bytes: usize,
    /// How many rows have not been put out.
    left: usize,
    /// How many of these have been pushed: the first ones.
    pushed: usize,
}

impl Held {
    /// The first row that has not been put out.
    fn first(&self) -> usize {
        self.batch.num_rows() - self.left
    }
}

/// The next rows of the batch in a slot. Which ones these are follows from the runs before, so it takes 8 bytes: where runs are short there
/// is one for each row.
#[derive(Debug, Clone, Copy)]
struct Run {
    slot: u32,
    len: u32,
}

/// The same, with the first of the rows.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    slot: usize,
    from: usize,
    len: usize,
}

impl Run {
    /// There are fewer slots, and fewer rows in a window, than a `u32` can count.
    #[allow(clippy::cast_possible_truncation)]
    const fn new(slot: usize, len: usize) -> Self {
        Self { slot: slot as u32, len: len as u32 }
    }

    const fn slot(self) -> usize {
        self.slot as usize
    }

    const fn len(self) -> usize {
        self.len as usize
    }
}

/// A batch that was put out.
pub(crate) struct Emitted {
    pub(crate) batch: RecordBatch,
    /// Whether it is a slice of a batch of a source.
    pub(crate) is_slice: bool,
}

impl Output {
    /// Puts out batches, most of them of `batch_size` rows, of so many inputs.
    pub(crate) fn new(
        schema: SchemaRef,
        inputs: usize,
        batch_size: usize,
        reservation: MemoryReservation,
        are_reserved: bool,
    ) -> Self {
        Self {
            schema,
            slots: Vec::with_capacity(inputs),
            free: Vec::new(),
            runs: Vec::new(),
            rows: 0,
            batch_size,
            sliced_rows: FEWEST_SLICED.max(batch_size.div_ceil(2)),
            has_slice: false,
            reservation,
            are_reserved,
        }
    }

    /// Holds a batch until all of its rows have been put out, and reserves memory for it and `more` bytes. Returns its slot.
    ///
    /// # Errors
    ///
    /// If the memory is refused.
    pub(crate) fn hold(&mut self, batch: RecordBatch, more: usize) -> Result<usize> {
        let of_batch = if self.are_reserved { 0 } else { batch_bytes(&batch) };
        let bytes = of_batch + more;
        self.reservation.try_grow(bytes)?;
        let left = batch.num_rows();
        let held = Some(Held { batch, bytes, left, pushed: 0 });
        Ok(if let Some(slot) = self.free.pop() {
            self.slots[slot] = held;
            slot
        } else {
            self.slots.push(held);
            self.slots.len() - 1
        })
    }

    /// How many bytes are reserved.
    pub(crate) fn reserved(&self) -> usize {
        self.reservation.size()
    }

    /// How many rows have been pushed and not put out.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there are rows that come as a slice of a batch, maybe behind others.
    pub(crate) const fn has_slice(&self) -> bool {
        self.has_slice
    }

    /// Makes room for so many runs. A batch has as many as it has rows at most.
    pub(crate) fn reserve(&mut self, runs: usize) {
        let wanted = self.runs.len() + runs;
        if wanted > self.runs.capacity() {
            // A fourth more, and not twice as much: it is held for as long as the merge.
            let room = (self.runs.capacity() + self.runs.capacity() / 4).min(self.batch_size).max(wanted);
            self.runs.reserve_exact(room - self.runs.len());
        }
    }

    /// Has rows of a batch come next: those after its rows that came before.
    #[inline]
    pub(crate) fn push(&mut self, slot: usize, len: usize) {
        self.rows += len;
        if let Some(held) = &mut self.slots[slot] {
            held.pushed += len;
        }
        let mut run = Run::new(slot, len);
        match self.runs.last_mut() {
            Some(last) if last.slot == run.slot && last.len.checked_add(run.len).is_some() => {
                last.len += run.len;
                run = *last;
            }
            _ => self.runs.push(run),
        }
        self.has_slice |= run.len() >= self.sliced_rows;
    }

    /// Puts out the rows that were pushed, or the first of them: a long run of at least half a batch is put out by itself, so that it is a slice
    /// and copies nothing. Where strings have more bytes than offsets can tell, as often half of what does not fit until it does.
    ///
    /// # Errors
    ///
    /// If one row does not fit, or the columns do not fit the schema.
    pub(crate) fn emit(&mut self) -> Result<Emitted> {
        let mut rows = self.next_rows();
        let emitted = loop {
            match self.gather(rows) {
                Err(DataFusionError::ArrowError(error, _))
                    if matches!(*error, ArrowError::OffsetOverflowError(_)) && rows > 1 =>
                {
                    rows /= 2;
                }
                emitted => break emitted?,
            }
        };
        self.take(rows);
        Ok(emitted)
    }

    /// How many rows the next batch has: those before a long run, or that run.
    fn next_rows(&self) -> usize {
        if !self.has_slice {
            return self.rows;
        }
        let mut before = 0;
        for run in &self.runs {
            if run.len() >= self.sliced_rows {
                return if before == 0 { run.len() } else { before };
            }
            before += run.len();
        }
        before
    }

    /// Forgets all rows and batches.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.runs.clear();
        self.rows = 0;
        self.has_slice = false;
        self.reservation.free();
    }

    /// Removes the first rows, and lets go of batches that are used up.
    fn take(&mut self, rows: usize) {
        if rows == self.rows {
            self.take_all();
        } else {
            self.take_some(rows);
        }
    }

    fn take_all(&mut self) {
        for (slot, place) in self.slots.iter_mut().enumerate() {
            let Some(held) = place else { continue };
            held.left -= mem::take(&mut held.pushed);
            if held.left == 0 {
                self.reservation.shrink(held.bytes);
                *place = None;
                self.free.push(slot);
            }
        }
        self.runs.clear();
        self.rows = 0;
        self.has_slice = false;
    }

    fn take_some(&mut self, rows: usize) {
        self.rows -= rows;
        let (mut wanted, mut taken) = (rows, 0);
        for run in &mut self.runs {
            let len = run.len().min(wanted);
            wanted -= len;
            let place = &mut self.slots[run.slot()];
            if let Some(held) = place {
                held.left -= len;
                held.pushed -= len;
                if held.left == 0 {
                    self.reservation.shrink(held.bytes);
                    *place = None;
                    self.free.push(run.slot());
                }
            }
            if len < run.len() {
                *run = Run::new(run.slot(), run.len() - len);
                break;
            }
            taken += 1;
            if wanted == 0 {
                break;
            }
        }
        self.runs.drain(..taken);
        self.has_slice = self.has_slice && self.runs.iter().any(|run| run.len() >= self.sliced_rows);
    }

    fn gather(&self, rows: usize) -> Result<Emitted> {
        if let Some(run) = self.runs.first()
            && run.len() >= rows
            && let Some(held) = &self.slots[run.slot()]
        {
            let batch = held.batch.slice(held.first(), rows);
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?;
            return Ok(Emitted { batch, is_slice: true });
        }
        let plan = Plan::new(self, rows);
        let columns = (0..self.schema.fields().len()).map(|column| plan.column(column));
        let columns = columns.collect::<Result<_, ArrowError>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(Emitted { batch, is_slice: false })
    }
}

/// How rows are put into columns: made once for a batch of the output.
struct Plan<'a> {
    /// The batches by slot. A free slot has one of the others.
    batches: Vec<&'a RecordBatch>,
    runs: Cow<'a, [Run]>,
    rows: usize,
    /// Where runs are short: the places of the rows, batch by batch, with room for [`AT_ONCE`] behind those of each.
    places: Vec<u32>,
    /// By slot: the first row of the batch, and how many of its rows there are.
    parts: Vec<(usize, usize)>,
}

impl<'a> Plan<'a> {
    fn new(output: &'a Output, rows: usize) -> Self {
        let any = output.slots.iter().flatten().next();
        let batches = output.slots.iter().filter_map(|held| held.as_ref().or(any).map(|held| &held.batch));
        let batches = batches.collect();
        let is_part = rows < output.rows;
        let runs = if is_part { cut(&output.runs, rows).into() } else { (&output.runs).into() };
        let part = |held: &Held| (held.first(), if is_part { 0 } else { held.pushed });
        let parts = output.slots.iter().map(|held| held.as_ref().map_or((0, 0), part)).collect();
        let mut plan = Self { batches, runs, rows, places: Vec::new(), parts };
        let is_short = rows < LONG * plan.runs.len() && rows >= MANY * plan.batches.len();
        if is_short && u32::try_from(rows + AT_ONCE).is_ok() {
            if is_part {
                for run in plan.runs.iter() {
                    plan.parts[run.slot()].1 += run.len();
                }
            }
            plan.find_places();
        }
        plan
    }

    /// The runs, each with its first row.
    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let mut next: Vec<usize> = self.parts.iter().map(|(first, _)| *first).collect();
        self.runs.iter().map(move |run| {
            let (slot, len) = (run.slot(), run.len());
            let from = next[slot];
            next[slot] += len;
            Stretch { slot, from, len }
        })
    }

    fn find_places(&mut self) {
        let mut next = Vec::with_capacity(self.parts.len());
        let mut begin = 0;
        for (_, count) in &self.parts {
            next.push(begin);
            begin += count + AT_ONCE;
        }
        self.places = vec![0; begin];
        let mut at = 0;
        for run in self.runs.iter() {
            let (next, len) = (&mut next[run.slot()], run.len());
            let places = &mut self.places[*next..];
            // What is too much is written over by the next run of the batch.
            for (place, at) in places[..AT_ONCE].iter_mut().zip(at..) {
                *place = at;
            }
            if len > AT_ONCE {
                for (place, at) in places[..len].iter_mut().zip(at..) {
                    *place = at;
                }
            }
            at += run.len;
            *next += len;
        }
    }

    /// The places of the rows of each batch, and the first of these rows.
    fn places(&self) -> impl Iterator<Item = (&[u32], usize)> {
        let mut places = self.places.as_slice();
        self.parts.iter().map(move |(first, count)| {
            let (here, rest) = places.split_at(*count);
            places = &rest[AT_ONCE..];
            (here, *first)
        })
    }

    fn column(&self, column: usize) -> Result<ArrayRef, ArrowError> {
        let arrays: Vec<&dyn Array> =
            self.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
        let Some(first) = arrays.first() else {
            return Err(ArrowError::ComputeError("no rows are put out".to_owned()));
        };
        let data_type = first.data_type();
        macro_rules! primitive {
            ($type:ty) => {
                Arc::new(self.primitive::<$type>(&arrays).with_data_type(data_type.clone()))
            };
        }
        Ok(downcast_primitive! {
            data_type => (primitive),
            DataType::Boolean => Arc::new(self.boolean(&arrays)),
            DataType::Utf8 => self.bytes::<Utf8Type>(&arrays)?,
            DataType::LargeUtf8 => self.bytes::<LargeUtf8Type>(&arrays)?,
            DataType::Binary => self.bytes::<BinaryType>(&arrays)?,
            DataType::LargeBinary => self.bytes::<LargeBinaryType>(&arrays)?,
            _ => self.other(&arrays)?,
        })
    }

    fn primitive<T: ArrowPrimitiveType>(&self, arrays: &[&dyn Array]) -> PrimitiveArray<T> {
        let columns: Vec<&[T::Native]> =
            arrays.iter().map(|array| array.as_primitive::<T>().values().as_ref()).collect();
        let values = if self.places.is_empty() {
            let mut values = Vec::with_capacity(self.rows);
            for Stretch { slot, from, len } in self.stretches() {
                match &columns[slot][from..from + len] {
                    [value] => values.push(*value),
                    several => values.extend_from_slice(several),
                }
            }
            values
        } else {
            let mut values = vec![T::Native::default(); self.rows];
            for (column, (places, first)) in columns.iter().zip(self.places()) {
                for (place, value) in places.iter().zip(&column[first..]) {
                    values[*place as usize] = *value;
                }
            }
            values
        };
        PrimitiveArray::new(values.into(), self.nulls(arrays))
    }

    fn boolean(&self, arrays: &[&dyn Array]) -> BooleanArray {
        let columns: Vec<_> = arrays.iter().map(|array| Some(array.as_boolean().values())).collect();
        BooleanArray::new(self.bits(&columns), self.nulls(arrays))
    }

    fn bytes<T: ByteArrayType>(&self, arrays: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
        let arrays_of_bytes: Vec<_> = arrays.iter().map(|array| array.as_bytes::<T>()).collect();
        if self.rows >= LONG_ROWS * self.runs.len() {
            return self.bytes_by_slice(&arrays_of_bytes);
        }
        let columns: Vec<(&[T::Offset], &[u8])> =
            arrays_of_bytes.iter().map(|array| (array.value_offsets(), array.value_data())).collect();
        let (offsets, data) = if self.places.is_empty() {
            self.bytes_by_run(&columns)?
        } else {
            self.bytes_by_batch(&columns)?
        };
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(Arc::new(GenericByteArray::<T>::try_new(offsets, data.into(), self.nulls(arrays))?))
    }

    /// By long runs: what is copied as arrays need not be looked at to be known as text.
    fn bytes_by_slice<T: ByteArrayType>(
        &self,
        arrays: &[&GenericByteArray<T>],
    ) -> Result<ArrayRef, ArrowError> {
        let bytes = self.stretches().map(|Stretch { slot, from, len }| {
            let offsets = arrays[slot].value_offsets();
            offsets[from + len].as_usize() - offsets[from].as_usize()
        });
        let bytes = bytes.sum();
        if bytes > T::Offset::MAX_OFFSET {
            return Err(ArrowError::OffsetOverflowError(bytes));
        }
        let mut builder = GenericByteBuilder::<T>::with_capacity(self.rows, bytes);
        for Stretch { slot, from, len } in self.stretches() {
            builder.append_array(&arrays[slot].slice(from, len))?;
        }
        Ok(Arc::new(builder.finish()))
    }

    fn bytes_by_run<O: OffsetSizeTrait>(
        &self,
        columns: &[(&[O], &[u8])],
    ) -> Result<(Vec<O>, Vec<u8>), ArrowError> {
        let mut offsets = vec![O::usize_as(0); self.rows + 1];
        let mut places = &mut offsets[1..];
        let mut end = 0_usize;
        for Stretch { slot, from, len } in self.stretches() {
            let of_run = &columns[slot].0[from..=from + len];
            let (first, begin) = (of_run[0], O::usize_as(end));
            end += of_run[len].as_usize() - first.as_usize();
            if end > O::MAX_OFFSET {
                return Err(ArrowError::OffsetOverflowError(end));
            }
            let (here, rest) = places.split_at_mut(len);
            for (offset, place) in of_run[1..].iter().zip(here) {
                *place = begin + (*offset - first);
            }
            places = rest;
        }
        let mut data = Vec::with_capacity(end + 32);
        let mut end = 0;
        for Stretch { slot, from, len } in self.stretches() {
            let (offsets, bytes) = columns[slot];
            let (from, to) = (offsets[from].as_usize(), offsets[from + len].as_usize());
            end += to - from;
            let value = &bytes[from..to];
            let rest = &bytes[from..];
            if !(append_at_once::<16>(&mut data, value, rest) || append_at_once::<64>(&mut data, value, rest))
            {
                data.extend_from_slice(value);
            }
            data.truncate(end);
        }
        Ok((offsets, data))
    }

    fn bytes_by_batch<O: OffsetSizeTrait>(
        &self,
        columns: &[(&[O], &[u8])],
    ) -> Result<(Vec<O>, Vec<u8>), ArrowError> {
        let of_batches = || {
            let columns = columns.iter().zip(self.places());
            columns.map(|((offsets, bytes), (places, first))| {
                (places, &offsets[first..=first + places.len()], *bytes)
            })
        };
        // The lengths first.
        let mut ends = vec![O::usize_as(0); self.rows + 1];
        for (places, offsets, _) in of_batches() {
            for (place, pair) in places.iter().zip(offsets.windows(2)) {
                ends[*place as usize + 1] = pair[1] - pair[0];
            }
        }
        let mut end = 0;
        for len in &mut ends {
            end += len.as_usize();
            *len = O::usize_as(end);
        }
        if end > O::MAX_OFFSET {
            return Err(ArrowError::OffsetOverflowError(end));
        }
        let mut data = vec![0; end];
        for (places, offsets, bytes) in of_batches() {
            for (place, pair) in places.iter().zip(offsets.windows(2)) {
                let value = &bytes[pair[0].as_usize()..pair[1].as_usize()];
                let start = ends[*place as usize].as_usize();
                copy(&mut data[start..start + value.len()], value);
            }
        }
        Ok((ends, data))
    }

    /// Columns of other types, by what Arrow has for all of them.
    fn other(&self, arrays: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
        if self.rows >= LONG_ROWS * self.runs.len() {
            let slices: Vec<_> =
                self.stretches().map(|Stretch { slot, from, len }| arrays[slot].slice(from, len)).collect();
            // Dictionaries that have no room for all values have room for those that are in use.
            if let Ok(array) = concat(&slices.iter().map(AsRef::as_ref).collect::<Vec<_>>()) {
                return Ok(array);
            }
        }
        let rows = self
            .stretches()
            .flat_map(|Stretch { slot, from, len }| (from..from + len).map(move |row| (slot, row)));
        interleave(arrays, &rows.collect::<Vec<_>>())
    }

    fn nulls(&self, arrays: &[&dyn Array]) -> Option<NullBuffer> {
        let nulls = || arrays.iter().map(|array| array.nulls().filter(|nulls| nulls.null_count() > 0));
        nulls().any(|nulls| nulls.is_some()).then(|| {
            NullBuffer::new(self.bits(&nulls().map(|nulls| nulls.map(NullBuffer::inner)).collect::<Vec<_>>()))
        })
    }

    /// The bits of the rows; those of a batch without any are set.
    fn bits(&self, columns: &[Option<&BooleanBuffer>]) -> BooleanBuffer {
        let mut bits = BooleanBufferBuilder::new(self.rows);
        // As many bits of a word as have come.
        let (mut word, mut count) = (0_u64, 0);
        for Stretch { slot, from, len } in self.stretches() {
            let column = columns[slot];
            if len < SHORT {
                for row in from..from + len {
                    word |= u64::from(column.is_none_or(|column| column.value(row))) << count;
                    count += 1;
                    if count == 64 {
                        bits.append_word(word, count);
                        (word, count) = (0, 0);
                    }
                }
                continue;
            }
            bits.append_word(word, count);
            (word, count) = (0, 0);
            match column {
                Some(column) => bits.append_buffer(&column.slice(from, len)),
                None => bits.append_n(len, true),
            }
        }
        bits.append_word(word, count);
        bits.finish()
    }
}

/// The first rows.
fn cut(runs: &[Run], rows: usize) -> Vec<Run> {
    let mut left = rows;
    let cut = runs.iter().map_while(|run| {
        let len = run.len().min(left);
        left -= len;
        (len > 0).then_some(Run::new(run.slot(), len))
    });
    cut.collect()
}

/// Appends N bytes, which takes no call, if a value has no more than that, and as many are there. What is too much must be cut off.
#[inline]
fn append_at_once<const N: usize>(out: &mut Vec<u8>, value: &[u8], rest: &[u8]) -> bool {
    match rest.first_chunk::<N>() {
        Some(chunk) if value.len() <= N => {
            out.extend_from_slice(chunk);
            true
        }
        _ => false,
    }
}

/// Copies a value, most of which are short, without a call.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    if !(copy_ends::<8>(to, from) || copy_ends::<4>(to, from) || copy_ends::<16>(to, from)) {
        if from.len() < 4 {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        } else {
            to.copy_from_slice(from);
        }
    }
}

/// Copies a value of N to 2 * N bytes as its first N and its last N.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    let len = from.len();
    match (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        (Some(first), Some(last)) if len <= 2 * N => {
            to[..N].copy_from_slice(first);
            to[len - N..].copy_from_slice(last);
            true
        }
        _ => false,
    }
}
