use std::cmp::Ordering;
use std::ops::Range;

use super::run::{Run, push};
use super::sources::gallop;
use super::{Coding, RowOrder, Rows};
use crate::key::{By, Natural};
use crate::merge::runs::{Rooms, merge_slices};

/// How many rows that have one code are put in order one by one.
const FEW_ROWS: usize = 8;

/// How often rows that have one code get other codes, before they are compared.
const MOST_CODES: usize = 3;

/// Rows of the batch of one source that belong to a window. They are contiguous.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) source: usize,
    pub(super) batch: usize,
    pub(super) rows: Range<usize>,
}

impl Piece {
    /// Takes its first rows as a run.
    fn take(&mut self, len: usize) -> Run {
        let from = self.rows.start;
        self.rows.start += len;
        Run::new(self.source, self.batch, from, len)
    }
}

/// Merges windows of rows by numbers that are made for each of them.
///
/// A number has the code of a row and, in the lowest bits, which piece the row is of. So the merge of the numbers is stable, and the
/// sequence of pieces in it is all that is needed: the rows of a piece come in their own order.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    codes: Vec<u64>,
    rooms: Rooms<u64>,
}

impl Bulk {
    /// Appends the runs of a window. The greatest row is the last one of the piece `high`, if that is known.
    pub(super) fn merge<B, O: RowOrder<B>>(
        &mut self,
        order: &mut O,
        batches: &[Option<B>],
        pieces: Vec<Piece>,
        high: Option<usize>,
        out: &mut Vec<Run>,
    ) {
        let mut window = Merging { order, batches, bulk: self, out };
        window.merge(pieces, high, 0);
    }
}

/// A window that is being merged.
struct Merging<'a, B, O> {
    order: &'a mut O,
    batches: &'a [Option<B>],
    bulk: &'a mut Bulk,
    out: &'a mut Vec<Run>,
}

impl<'a, B, O: RowOrder<B>> Merging<'a, B, O> {
    fn batch(&self, piece: &Piece) -> Option<&'a B> {
        self.batches.get(piece.source)?.as_ref()
    }

    fn compare(&mut self, (a, row_a): (&Piece, usize), (b, row_b): (&Piece, usize)) -> Ordering {
        match (self.batch(a), self.batch(b)) {
            (Some(batch_a), Some(batch_b)) => self.order.compare((batch_a, row_a), (batch_b, row_b)),
            _ => Ordering::Equal,
        }
    }

    fn section(&mut self, piece: &Piece, row: usize) -> u32 {
        self.batch(piece).map_or(0, |batch| self.order.section((batch, row)))
    }

    /// Puts pieces out one after the other.
    fn append(&mut self, pieces: &mut [Piece]) {
        for piece in pieces {
            let len = piece.rows.len();
            push(self.out, piece.take(len));
        }
    }

    /// Puts out the merge of pieces, which are in the order of their sources, and none of which is empty.
    fn merge(&mut self, mut pieces: Vec<Piece>, high: Option<usize>, depth: usize) {
        if pieces.len() < 2 {
            return self.append(&mut pieces);
        }
        let (mut low, mut highest) = (0, high.unwrap_or(0));
        for index in 1..pieces.len() {
            let (a, b) = (&pieces[index], &pieces[low]);
            if self.compare((a, a.rows.start), (b, b.rows.start)).is_lt() {
                low = index;
            }
            let (a, b) = (&pieces[index], &pieces[highest]);
            if high.is_none() && self.compare((a, a.rows.end - 1), (b, b.rows.end - 1)).is_gt() {
                highest = index;
            }
        }
        let (first, last) = (&pieces[low], &pieces[highest]);
        let (low_row, high_row) = (first.rows.start, last.rows.end - 1);
        if self.compare((first, low_row), (last, high_row)).is_ge() {
            return self.append(&mut pieces);
        }
        let section = self.section(first, low_row);
        if section != self.section(last, high_row) {
            return self.merge_section(pieces, section, depth);
        }
        let ranges: Vec<_> = pieces
            .iter()
            .filter_map(|piece| Some(Rows { batch: self.batch(piece)?, rows: piece.rows.clone() }))
            .collect();
        let rows: usize = ranges.iter().map(|range| range.rows.len()).sum();
        let mut codes = std::mem::take(&mut self.bulk.codes);
        codes.clear();
        codes.reserve_exact(rows);
        let coding = match (self.batch(first), self.batch(last)) {
            (Some(low), Some(high)) => {
                self.order.codes(&ranges, (low, low_row), (high, high_row), &mut codes)
            }
            _ => Coding::Nothing,
        };
        if coding == Coding::Nothing || codes.len() != rows {
            self.bulk.codes = codes;
            return self.merge_by_comparing(pieces);
        }
        let ends = pieces.iter().scan(0, |end, piece| {
            *end += piece.rows.len();
            Some(*end)
        });
        let ends: Vec<_> = ends.collect();
        let smallest = codes[ends[low] - first.rows.len()];
        let greatest = codes[ends[highest] - 1];
        if greatest <= smallest {
            // They tell nothing, though the rows differ; or the rows are out of order.
            self.bulk.codes = codes;
            return self.merge_by_comparing(pieces);
        }
        let source_bits = pieces.len().next_power_of_two().ilog2();
        let code_bits = 64 - (greatest - smallest).leading_zeros();
        let dropped = (code_bits + source_bits).saturating_sub(64);
        let mut begin = 0;
        for (index, end) in ends.iter().enumerate() {
            for code in &mut codes[begin..*end] {
                // The shift drops bits only of codes that are out of bounds.
                *code = code.wrapping_sub(smallest) >> dropped << source_bits | index as u64;
            }
            begin = *end;
        }
        let mut begin = 0;
        let runs: Vec<&[u64]> =
            ends.iter().map(|end| &codes[std::mem::replace(&mut begin, *end)..*end]).collect();
        // Ties that get codes of their own need rooms of their own.
        let mut rooms = std::mem::take(&mut self.bulk.rooms);
        let merged = rooms.merge(&runs, rows, &mut Natural);
        if coding == Coding::Exact && dropped == 0 {
            decode(&mut pieces, merged, source_bits, self.out);
        } else {
            self.decode_ties(pieces, merged, source_bits, depth);
        }
        self.bulk.rooms = rooms;
        self.bulk.codes = codes;
    }

    /// Merges the rows of the first section, and then the others.
    fn merge_section(&mut self, pieces: Vec<Piece>, section: u32, depth: usize) {
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for piece in pieces {
            let rows =
                gallop(piece.rows.len(), |row| self.section(&piece, piece.rows.start + row) <= section);
            let middle = piece.rows.start + rows;
            let (before, behind) = (piece.rows.start..middle, middle..piece.rows.end);
            first.extend((!before.is_empty()).then_some(Piece { rows: before, ..piece }));
            rest.extend((!behind.is_empty()).then_some(Piece { rows: behind, ..piece }));
        }
        if rest.is_empty() {
            // The rows are out of order.
            return self.append(&mut first);
        }
        self.merge(first, None, depth);
        self.merge(rest, None, depth);
    }

    /// Puts out rows by the sequence of their pieces, where rows that have one code are still to be ordered.
    fn decode_ties(&mut self, mut pieces: Vec<Piece>, merged: &[u64], source_bits: u32, depth: usize) {
        let mask = (1 << source_bits) - 1;
        let piece_of = |number: u64| usize::try_from(number & mask).unwrap_or(0);
        let mut rest = merged;
        loop {
            let code_of = |number: &u64| number >> source_bits;
            let alone = rest.windows(2).position(|pair| code_of(&pair[0]) == code_of(&pair[1]));
            let singles;
            (singles, rest) = rest.split_at(alone.unwrap_or(rest.len()));
            decode(&mut pieces, singles, source_bits, self.out);
            let Some((first, behind)) = rest.split_first() else { return };
            let code = code_of(first);
            let len = 1 + behind.iter().take_while(|number| code_of(number) == code).count();
            let tied;
            (tied, rest) = rest.split_at(len);
            if !tied.is_sorted() {
                // Nor are the rows.
                for number in tied {
                    push(self.out, pieces[piece_of(*number)].take(1));
                }
            } else if tied.last() == Some(first) {
                push(self.out, pieces[piece_of(*first)].take(len));
            } else if len <= FEW_ROWS {
                self.order_few(&mut pieces, tied.iter().map(|number| piece_of(*number)));
            } else {
                let tied = tied.chunk_by(|a, b| a & mask == b & mask).map(|numbers| {
                    let piece = &mut pieces[piece_of(numbers[0])];
                    let begin = piece.rows.start;
                    piece.rows.start += numbers.len();
                    Piece { rows: begin..piece.rows.start, ..*piece }
                });
                let tied = tied.collect();
                if depth < MOST_CODES {
                    self.merge(tied, None, depth + 1);
                } else {
                    self.merge_by_comparing(tied);
                }
            }
        }
    }

    /// Puts out the next rows of these pieces, few of them, by insertion.
    fn order_few(&mut self, pieces: &mut [Piece], sequence: impl Iterator<Item = usize>) {
        let mut sorted = [(0, 0); FEW_ROWS];
        let mut len = 0;
        let mut ahead = [(usize::MAX, 0); FEW_ROWS];
        for piece in sequence.take(FEW_ROWS) {
            // How many rows of the piece have been met already.
            let known = ahead[..len].iter().filter(|(other, _)| *other == piece).count();
            let row = pieces[piece].rows.start + known;
            ahead[len] = (piece, row);
            let (mut low, mut high) = (0, len);
            while low < high {
                let middle = low.midpoint(high);
                let (other, other_row) = sorted[middle];
                if self.compare((&pieces[piece], row), (&pieces[other], other_row)).is_lt() {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            sorted.copy_within(low..len, low + 1);
            sorted[low] = (piece, row);
            len += 1;
        }
        for (piece, _) in &sorted[..len] {
            push(self.out, pieces[*piece].take(1));
        }
    }

    /// Merges by comparing rows.
    fn merge_by_comparing(&mut self, mut pieces: Vec<Piece>) {
        let rows: Vec<Vec<(u32, usize)>> = pieces
            .iter()
            .zip(0..)
            .map(|(piece, index)| piece.rows.clone().map(|row| (index, row)).collect())
            .collect();
        let mut merged = Vec::with_capacity(rows.iter().map(Vec::len).sum());
        let mut by_row = By::new(|a: &(u32, usize), b: &(u32, usize)| {
            self.compare((&pieces[a.0 as usize], a.1), (&pieces[b.0 as usize], b.1))
        });
        merge_slices(rows.iter().map(Vec::as_slice).collect(), &mut by_row, &mut merged);
        for (piece, _) in merged {
            push(self.out, pieces[piece as usize].take(1));
        }
    }
}

/// How many rows are put out at a time.
const CHUNK: u8 = 128;

/// Puts out rows by merged numbers that say which piece is next.
///
/// Whether a row is of the same piece as the one before cannot be predicted, so where runs end is noted without a branch. Then no more is
/// done for a row: how far a piece has got is read and written once for each run.
fn decode(pieces: &mut [Piece], merged: &[u64], source_bits: u32, out: &mut Vec<Run>) {
    let mask = (1 << source_bits) - 1;
    let mut ends = [0_u8; CHUNK as usize];
    for numbers in merged.chunks(ends.len()) {
        let mut runs = 0;
        for (end, pair) in (1..).zip(numbers.windows(2)) {
            ends[runs] = end;
            runs += usize::from((pair[0] ^ pair[1]) & mask != 0);
        }
        let mut begin = 0;
        let ends = ends[..runs].iter().map(|end| usize::from(*end));
        let mut ends = ends.chain([numbers.len()]).map(|end| {
            // A piece of the window: a `usize` has room for all of them.
            #[allow(clippy::cast_possible_truncation)]
            let piece = (numbers[begin] & mask) as usize;
            pieces[piece].take(end - std::mem::replace(&mut begin, end))
        });
        // It may go on with the last one.
        if let Some(first) = ends.next() {
            push(out, first);
        }
        out.extend(ends);
    }
}
