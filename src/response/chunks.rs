//! The chunks of a series and its duplicates.

use std::mem;

use crate::Chunk;

/// The chunks of one series, to which those of its duplicates are added.
///
/// What is not known to be there already is put behind, out of order, and sorted in when it has become as much as what is in
/// order. So each chunk takes part in few sorts, whatever order the duplicates come in; a pass over all chunks for each duplicate
/// would take the square of how many duplicates there are.
pub(super) struct Chunks {
    /// Sorted, each once, if that `is_in_order`; as the series has them until then.
    front: Vec<Chunk>,
    is_in_order: bool,
    /// Some of these may be there more than once.
    behind: Vec<Chunk>,
}

impl Chunks {
    pub(super) const fn new(chunks: Vec<Chunk>) -> Self {
        Self { front: chunks, is_in_order: false, behind: Vec::new() }
    }

    /// Adds those of a duplicate. Returns how many were dropped since they are there already.
    pub(super) fn add(&mut self, mut duplicates: Vec<Chunk>) -> u64 {
        let before = duplicates.len() as u64;
        // Most often replicas have the same chunks.
        if self.front == duplicates {
            return before;
        }
        let mut dropped = put_in_order(&mut duplicates);
        if !mem::replace(&mut self.is_in_order, true) {
            dropped += put_in_order(&mut self.front);
        }
        let mut rest = &*self.front;
        let known = duplicates.len();
        duplicates.retain(|duplicate| {
            rest = from(rest, duplicate);
            rest.first() != Some(duplicate)
        });
        dropped += (known - duplicates.len()) as u64;
        if self.behind.is_empty() && self.front.last() < duplicates.first() {
            self.front.append(&mut duplicates);
            return dropped;
        }
        self.behind.append(&mut duplicates);
        if self.behind.len() >= self.front.len() { dropped + self.sort_in() } else { dropped }
    }

    /// Returns all of them, sorted, each once, and how many were dropped besides.
    pub(super) fn finish(mut self) -> (Vec<Chunk>, u64) {
        let dropped = if !self.is_in_order {
            put_in_order(&mut self.front)
        } else if self.behind.is_empty() {
            0
        } else {
            self.sort_in()
        };
        (self.front, dropped)
    }

    fn sort_in(&mut self) -> u64 {
        self.front.append(&mut self.behind);
        sort(&mut self.front)
    }
}

/// The chunks of a sorted slice from `chunk` on. Searched for from the front in steps that double: mostly it is near.
fn from<'a>(chunks: &'a [Chunk], chunk: &Chunk) -> &'a [Chunk] {
    let mut end = 1;
    while chunks.get(end - 1).is_some_and(|other| other < chunk) {
        end *= 2;
    }
    let start = end / 2;
    let end = end.min(chunks.len());
    let Some(between) = chunks.get(start..end) else { return &[] };
    &chunks[start + between.partition_point(|other| other < chunk)..]
}

/// Sorts chunks and drops those that are there twice. Returns how many that were.
#[inline]
fn put_in_order(chunks: &mut Vec<Chunk>) -> u64 {
    if chunks.is_sorted_by(|a, b| a < b) { 0 } else { sort(chunks) }
}

#[cold]
fn sort(chunks: &mut Vec<Chunk>) -> u64 {
    let before = chunks.len();
    // The stable sort finds what is sorted already.
    chunks.sort();
    chunks.dedup();
    (before - chunks.len()) as u64
}
