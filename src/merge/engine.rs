use crate::key::Order;
use crate::tree::LoserTree;

use super::Undrained;

/// What the sync merges have in common: a tournament and the sources that feed it.
///
/// Fallible and infallible merges differ in how an item is pulled, so that is a parameter; with an error
/// type that has no values the error paths compile to nothing.
#[derive(Debug, Clone)]
pub(super) struct Engine<I, T, O> {
    pub(super) tree: LoserTree<T, O>,
    /// The sources by index; `None` once a source has ended.
    sources: Vec<Option<I>>,
    /// How many sources have been asked for their first head.
    filled: usize,
    /// The source whose item was yielded last, and which has not been asked for its next one.
    owed: Option<usize>,
}

impl<I, T, O: Order<T>> Engine<I, T, O> {
    pub(super) fn new(sources: impl IntoIterator<Item = I>, order: O) -> Self {
        let sources: Vec<_> = sources.into_iter().map(Some).collect();
        let tree = LoserTree::new(order, sources.iter().map(|_| None));
        Self { tree, sources, filled: 0, owed: None }
    }

    /// Takes the next item, with its source. An error names the source that it came from.
    #[inline]
    pub(super) fn next<E>(
        &mut self,
        pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<Option<(usize, T)>, (usize, E)> {
        self.advance(pull)?;
        let next = self.tree.pop();
        self.owed = next.as_ref().map(|(source, _)| *source);
        Ok(next)
    }

    /// Pulls what the tournament lacks: the successor of the item that was yielded last, or at the start a
    /// head of each source.
    ///
    /// If a source panics, nothing has changed, and the next call asks it again.
    #[inline]
    pub(super) fn advance<E>(
        &mut self,
        mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<(), (usize, E)> {
        if let Some(source) = self.owed {
            self.refill(source, &mut pull)?;
            self.owed = None;
        } else {
            self.fill(pull)?;
        }
        Ok(())
    }

    #[cold]
    fn fill<E>(&mut self, mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>) -> Result<(), (usize, E)> {
        while self.filled < self.sources.len() {
            self.refill(self.filled, &mut pull)?;
            self.filled += 1;
        }
        Ok(())
    }

    #[inline]
    fn refill<E>(
        &mut self,
        index: usize,
        mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<(), (usize, E)> {
        let Some(slot) = self.sources.get_mut(index) else { return Ok(()) };
        match slot.as_mut().and_then(&mut pull) {
            Some(Ok(item)) => {
                self.tree.set_head(index, Some(item));
            }
            Some(Err(error)) => return Err((index, error)),
            None => *slot = None,
        }
        Ok(())
    }

    /// The items held and the sources left, for a size hint.
    pub(super) fn size_hint(&self, hint: impl Fn(&I) -> (usize, Option<usize>)) -> (usize, Option<usize>) {
        let held = self.tree.heads().iter().flatten().count();
        self.sources.iter().flatten().map(hint).fold((held, Some(held)), |(low, high), (l, h)| {
            (low.saturating_add(l), high.zip(h).and_then(|(high, h)| high.checked_add(h)))
        })
    }

    /// Whether some source has not given its first head, or said that it has none.
    pub(super) fn is_filling(&self) -> bool {
        self.filled < self.sources.len()
    }

    /// Drops all heads and sources. Should a drop panic, the others are dropped all the same.
    #[cold]
    pub(super) fn release(&mut self) {
        self.owed = None;
        let _sources = std::mem::take(&mut self.sources);
        drop(self.tree.take_heads());
    }

    pub(super) fn into_sources(self) -> Vec<Undrained<I, T>> {
        self.sources
            .into_iter()
            .zip(self.tree.into_heads())
            .enumerate()
            .filter_map(|(index, (source, head))| {
                Some(Undrained { index, head, source: source?, has_ended: false })
            })
            .collect()
    }
}

impl<I, T, O: Order<T>> Engine<I, T, O>
where
    I: Iterator<Item = T>,
{
    /// Folds the items that are left.
    ///
    /// Where codes are exact, a source that has won several times in a row is drained for as long as its items
    /// come before the runner-up: one comparison of codes for each, and no replay. Finding the runner-up costs
    /// code comparisons only, never one of items. With few sources such a streak is often chance, so it must
    /// be longer there: on uniform keys at K = 4 that takes 0.7 of the time (bench `scoreboard`).
    pub(super) fn fold<B>(mut self, init: B, mut f: impl FnMut(B, T) -> B) -> B {
        let long = if self.sources.len() <= 8 { 4 } else { 2 };
        let mut folded = init;
        let mut previous = usize::MAX;
        let mut streak = 0_u32;
        while let Ok(Some((winner, item))) = self.next(super::merge::pull) {
            folded = f(folded, item);
            streak = if winner == previous { streak + 1 } else { 1 };
            previous = winner;
            if O::EXACT && streak >= long {
                folded = self.fold_run(winner, folded, &mut f);
            }
        }
        folded
    }

    /// Folds the items of the last winner that come before the runner-up.
    #[inline]
    fn fold_run<B>(&mut self, winner: usize, mut folded: B, f: &mut impl FnMut(B, T) -> B) -> B {
        let bound = self.tree.bound();
        let Some(Some(source)) = self.sources.get_mut(winner) else { return folded };
        self.owed = None;
        loop {
            let Some(item) = source.next() else {
                self.sources[winner] = None;
                return folded;
            };
            if !self.tree.is_ahead(&item, bound) {
                self.tree.set_head(winner, Some(item));
                return folded;
            }
            folded = f(folded, item);
        }
    }
}
