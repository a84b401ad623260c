//! A sync source that keeps books, and is as unforgiving as the contract allows.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::cell::RefCell;
use std::rc::Rc;

use losertree::SortKey;
use losertree_testkit::Item;

/// What happened to the sources that were made with this. A handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    pulled: Vec<usize>,
    /// In the order in which they happened.
    ended: Vec<usize>,
    dropped: Vec<usize>,
}

impl Books {
    /// Makes a source of each run.
    pub(crate) fn sources<T>(&self, runs: impl IntoIterator<Item = Vec<T>>) -> Vec<Probe<T>> {
        runs.into_iter().map(|run| self.source(run)).collect()
    }

    /// Makes a source that gives these items. Asked once more after its end, it panics.
    pub(crate) fn source<T>(&self, items: Vec<T>) -> Probe<T> {
        let mut state = self.0.borrow_mut();
        let index = state.pulled.len();
        state.pulled.push(0);
        Probe { index, items: items.into_iter(), has_ended: false, panics_at: None, books: self.clone() }
    }

    /// How many items were pulled from each source.
    pub(crate) fn pulled(&self) -> Vec<usize> {
        self.0.borrow().pulled.clone()
    }

    /// How many items were pulled from all sources together.
    pub(crate) fn total(&self) -> usize {
        self.0.borrow().pulled.iter().sum()
    }

    /// The sources that have said that they are at their end.
    pub(crate) fn ended(&self) -> Vec<usize> {
        self.0.borrow().ended.clone()
    }

    /// The sources that were dropped, in this order.
    pub(crate) fn dropped(&self) -> Vec<usize> {
        self.0.borrow().dropped.clone()
    }
}

/// A source of items: not fused, and it panics when it is asked after its end.
#[derive(Debug)]
pub(crate) struct Probe<T> {
    pub(crate) index: usize,
    items: std::vec::IntoIter<T>,
    has_ended: bool,
    panics_at: Option<usize>,
    books: Books,
}

impl<T> Probe<T> {
    /// Panics once, when asked for the item at this place. The item is not lost by that.
    pub(crate) fn panicking_at(mut self, place: usize) -> Self {
        self.panics_at = Some(place);
        self
    }

    /// What it still has.
    pub(crate) fn rest(&self) -> &[T] {
        self.items.as_slice()
    }
}

impl<T> Iterator for Probe<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        assert!(!self.has_ended, "source {} was asked again after its end", self.index);
        let place = self.books.0.borrow().pulled[self.index];
        if self.panics_at == Some(place) {
            self.panics_at = None;
            panic!("source {} panics as asked", self.index);
        }
        let item = self.items.next();
        let mut state = self.books.0.borrow_mut();
        if item.is_some() {
            state.pulled[self.index] += 1;
        } else {
            self.has_ended = true;
            state.ended.push(self.index);
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl<T> Drop for Probe<T> {
    fn drop(&mut self) {
        self.books.0.borrow_mut().dropped.push(self.index);
    }
}

/// Every item came out once, and those of each source in the order in which it gave them.
#[track_caller]
pub(crate) fn assert_complete<K: SortKey>(actual: &[Item<K>], runs: &[Vec<Item<K>>]) {
    let mut next = vec![0; runs.len()];
    for item in actual {
        assert_eq!(item.sequence, next[item.source], "lost, repeated or swapped in source {}", item.source);
        next[item.source] += 1;
    }
    assert_eq!(next, runs.iter().map(Vec::len).collect::<Vec<_>>(), "lost");
}
