use std::fmt;
use std::iter::FusedIterator;

/// An iterator that reads another one ahead, some items at a time. Made by [`Merge::staged`](super::Merge::staged) and
/// [`TryMerge::staged`](super::TryMerge::staged) of each source.
///
/// Nothing is asked for before the first item is. Then, and whenever all that was read ahead has been taken, as many
/// items are read as were asked for, or what there is left.
///
/// # Complexity
///
/// The buffer is allocated when the first item is asked for, for no more items than the iterator says it has.
/// Nothing is allocated later.
///
/// # Panics
///
/// Only where the iterator does. Nothing is lost: what was read before the panic comes next, and then the iterator is
/// asked again.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Staged<I: Iterator> {
    /// What was read ahead, the next item last: taking one changes nothing but the length.
    ahead: Vec<I::Item>,
    /// How many items are read at a time.
    items: usize,
    /// `None` once it has ended.
    source: Option<I>,
}

impl<I: Iterator> Staged<I> {
    pub(super) fn new(source: I, items: usize) -> Self {
        Self { ahead: Vec::new(), items: items.max(1), source: Some(source) }
    }

    /// Reads ahead, and returns the first of what was read.
    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> Option<I::Item> {
        let source = self.source.as_mut()?;
        let ahead = NextLast(&mut self.ahead);
        ahead.0.extend(source.take(self.items));
        drop(ahead);
        if self.ahead.len() < self.items {
            self.source = None;
        }
        self.ahead.pop()
    }
}

/// Items as they are read; turns them round when dropped, also if the source has panicked.
struct NextLast<'a, T>(&'a mut Vec<T>);

impl<T> Drop for NextLast<'_, T> {
    fn drop(&mut self) {
        self.0.reverse();
    }
}

impl<I: Iterator> Iterator for Staged<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        match self.ahead.pop() {
            None => self.refill(),
            item => item,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let ahead = self.ahead.len();
        let (low, high) = self.source.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        (low.saturating_add(ahead), high.and_then(|high| high.checked_add(ahead)))
    }
}

impl<I: Iterator> FusedIterator for Staged<I> {}

impl<I: Iterator + Clone> Clone for Staged<I>
where
    I::Item: Clone,
{
    fn clone(&self) -> Self {
        Self { ahead: self.ahead.clone(), items: self.items, source: self.source.clone() }
    }
}

impl<I: Iterator + fmt::Debug> fmt::Debug for Staged<I>
where
    I::Item: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged")
            .field("ahead", &self.ahead)
            .field("items", &self.items)
            .field("source", &self.source)
            .finish()
    }
}
