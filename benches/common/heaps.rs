//! The two merges with the heap of the standard library, and one with that of `binary-heap-plus`. All are stable.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::mem;

use binary_heap_plus::{MinComparator, PeekMut as PeekMutPlus};

/// The heads of the sources, the smallest on top, equal ones by source.
pub(crate) type Heap<K> = BinaryHeap<Reverse<(K, usize)>>;

/// Makes the heap in linear time.
pub(crate) fn heap<K: Ord>(heads: impl Iterator<Item = Option<K>>) -> Heap<K> {
    heads.enumerate().filter_map(|(source, head)| Some(Reverse((head?, source)))).collect()
}

/// The naive heap: what one writes down first. Pops the smallest head and pushes its successor.
pub(crate) struct NaiveHeap<I: Iterator> {
    sources: Vec<I>,
    heap: Heap<I::Item>,
}

impl<I: Iterator<Item: Ord>> NaiveHeap<I> {
    pub(crate) fn new(sources: impl Iterator<Item = I>) -> Self {
        let mut sources: Vec<_> = sources.collect();
        let heap = heap(sources.iter_mut().map(Iterator::next));
        Self { sources, heap }
    }
}

impl<I: Iterator<Item: Ord>> Iterator for NaiveHeap<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        let Reverse((item, source)) = self.heap.pop()?;
        if let Some(successor) = self.sources[source].next() {
            self.heap.push(Reverse((successor, source)));
        }
        Some(item)
    }
}

/// The tuned heap: puts the successor in the place of the smallest head, and sifts once.
pub(crate) struct TunedHeap<I: Iterator> {
    sources: Vec<I>,
    heap: Heap<I::Item>,
}

impl<I: Iterator<Item: Ord>> TunedHeap<I> {
    pub(crate) fn new(sources: impl Iterator<Item = I>) -> Self {
        let mut sources: Vec<_> = sources.collect();
        let heap = heap(sources.iter_mut().map(Iterator::next));
        Self { sources, heap }
    }
}

impl<I: Iterator<Item: Ord>> Iterator for TunedHeap<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        let mut top = self.heap.peek_mut()?;
        let Reverse((head, source)) = &mut *top;
        match self.sources[*source].next() {
            Some(successor) => Some(mem::replace(head, successor)),
            None => Some(PeekMut::pop(top).0.0),
        }
    }
}

/// The same with the heap of `binary-heap-plus`, which needs no [`Reverse`].
pub(crate) struct MinHeap<I: Iterator> {
    sources: Vec<I>,
    heap: binary_heap_plus::BinaryHeap<(I::Item, usize), MinComparator>,
}

impl<I: Iterator<Item: Ord>> MinHeap<I> {
    pub(crate) fn new(sources: impl Iterator<Item = I>) -> Self {
        let mut sources: Vec<_> = sources.collect();
        let heads = sources.iter_mut().enumerate().filter_map(|(source, it)| Some((it.next()?, source)));
        let heap = binary_heap_plus::BinaryHeap::from_vec_cmp(heads.collect(), MinComparator);
        Self { sources, heap }
    }
}

impl<I: Iterator<Item: Ord>> Iterator for MinHeap<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        let mut top = self.heap.peek_mut()?;
        let (head, source) = &mut *top;
        match self.sources[*source].next() {
            Some(successor) => Some(mem::replace(head, successor)),
            None => Some(PeekMutPlus::pop(top).0),
        }
    }
}
