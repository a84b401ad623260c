use std::convert::Infallible;

use crate::key::Order;
use crate::tree::{Held, LoserTree};

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
}

/// Pulls from a source that cannot fail.
#[inline]
pub(super) fn pull<I: Iterator>(source: &mut I) -> Option<Result<I::Item, Infallible>> {
    source.next().map(Ok)
}

impl<I, T, O: Order<T>> Engine<I, T, O> {
    pub(super) fn new(sources: impl IntoIterator<Item = I>, order: O) -> Self {
        Self::of(sources.into_iter().map(Some).collect(), order)
    }

    /// Creates the tournament of sources of which some may have ended.
    pub(super) fn of(sources: Vec<Option<I>>, order: O) -> Self {
        let tree = LoserTree::new(order, sources.iter().map(|_| None));
        Self { tree, sources, filled: 0 }
    }

    /// Takes the next item, with its source. An error names the source that it came from.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn next<E>(
        &mut self,
        mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<Option<(usize, T)>, (usize, E)> {
        let Some(source) = self.tree.popped() else {
            let winner = self.refill(pull)?;
            return Ok(self.tree.pop_decided(winner));
        };
        if self.tree.is_by_bytes() {
            // Code of its own for each: where the processor guesses the source, all that is known of it is on its way.
            return match source {
                0 => self.next_of_few(0, pull),
                1 => self.next_of_few(1, pull),
                2 => self.next_of_few(2, pull),
                _ => self.next_of_few(source, pull),
            };
        }
        if let Some(head) = self.ask(source, &mut pull)? {
            return Ok(self.tree.bring_to_many(source, head));
        }
        let winner = self.refill(pull)?;
        Ok(self.tree.pop_decided(winner))
    }

    /// Takes the next item, where one of this source was taken before, and keys are compared right away.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn next_of_few<E>(
        &mut self,
        source: usize,
        mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<Option<(usize, T)>, (usize, E)> {
        if let Some(head) = self.ask(source, &mut pull)? {
            return Ok(self.tree.bring_to_few(source, head));
        }
        let winner = self.refill(pull)?;
        Ok(self.tree.pop_decided(winner))
    }

    /// Finds out whose item is next where none was taken before, or its source has ended.
    #[cold]
    #[inline(never)]
    fn refill<E>(&mut self, pull: impl FnMut(&mut I) -> Option<Result<T, E>>) -> Result<usize, (usize, E)> {
        self.fill(pull)?;
        Ok(self.tree.decided())
    }

    /// Appends the next items, at most `max`.
    pub(super) fn next_block<E>(
        &mut self,
        out: &mut Vec<T>,
        max: usize,
        mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<(), (usize, E)> {
        let end = out.len().saturating_add(max);
        while out.len() < end
            && let Some((_, item)) = self.next(&mut pull)?
        {
            out.push(item);
            if let Some(source) = self.tree.streak() {
                self.take_streak(source, out, end, &mut pull)?;
            }
        }
        Ok(())
    }

    /// Appends the items of a source that come before the runner-up, and the item after them, up to `end`.
    ///
    /// They do not touch the tournament, without which blocks of runs take 1.3 times as long as single items instead of
    /// 0.84 times (bench `scoreboard`, `u64/runs`).
    #[inline]
    fn take_streak<E>(
        &mut self,
        winner: usize,
        out: &mut Vec<T>,
        end: usize,
        mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<(), (usize, E)> {
        let Some(Some(source)) = self.sources.get_mut(winner) else { return Ok(()) };
        while out.len() < end {
            let Some(item) = pull(source) else {
                self.sources[winner] = None;
                return Ok(());
            };
            let item = item.map_err(|error| (winner, error))?;
            let Some((item, outcome)) = Held::new(&mut self.tree, item).ask(LoserTree::ahead) else {
                return Ok(());
            };
            if let Err(behind) = outcome {
                let winner = self.tree.bring_behind(item, behind);
                out.extend(self.tree.pop_decided(winner).map(|(_, next)| next));
                return Ok(());
            }
            out.push(item);
        }
        Ok(())
    }

    /// Pulls what the tournament lacks: the successor of the item that was yielded last, or at the start a
    /// head of each source.
    ///
    /// If a source panics, nothing has changed, and the next call asks it again.
    #[inline]
    pub(super) fn advance<E>(
        &mut self,
        pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<(), (usize, E)> {
        let Some(source) = self.tree.popped() else { return self.fill(pull) };
        let head = self.ask(source, pull)?;
        self.tree.set_head(source, head);
        Ok(())
    }

    /// Calls `ask` with the order, whether the next item is equal to the one taken last, if that is known, and the next item,
    /// which stays where it is.
    ///
    /// A source that turns out to have ended is not dropped. Its index is added to `ended`.
    pub(super) fn ask_next<E, R>(
        &mut self,
        ended: &mut Vec<usize>,
        pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
        ask: impl FnOnce(&mut O, Option<bool>, &T) -> R,
    ) -> Result<Option<R>, (usize, E)> {
        if let Some(source) = self.tree.popped() {
            let slot = self.sources.get_mut(source).and_then(Option::as_mut);
            let head = slot.and_then(pull).transpose().map_err(|error| (source, error))?;
            if head.is_none() {
                ended.push(source);
            }
            self.tree.set_head(source, head);
        } else {
            self.fill(pull)?;
        }
        let is_equal = self.tree.is_repeat();
        Ok(self.tree.with_winner(|order, next| ask(order, is_equal, next)))
    }

    /// Takes the next item, where that has mostly been asked about, so that nothing is to be pulled.
    #[inline]
    pub(super) fn take<E>(
        &mut self,
        pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<Option<T>, (usize, E)> {
        let winner = match self.tree.known_winner() {
            Some(winner) if !self.is_filling() => winner,
            _ => self.pull_and_decide(pull)?,
        };
        Ok(self.tree.pop_decided(winner).map(|(_, item)| item))
    }

    #[cold]
    #[inline(never)]
    fn pull_and_decide<E>(
        &mut self,
        pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<usize, (usize, E)> {
        self.advance(pull)?;
        Ok(self.tree.decided())
    }

    /// Drops sources that have ended.
    pub(super) fn drop_ended(&mut self, ended: &mut Vec<usize>) {
        while let Some(source) = ended.pop() {
            if let Some(slot) = self.sources.get_mut(source) {
                *slot = None;
            }
        }
    }

    /// The sources by index; `None` for those that have ended.
    pub(super) fn sources_left(&self) -> &[Option<I>] {
        &self.sources
    }

    /// How many sources there are and were.
    pub(super) const fn sources(&self) -> usize {
        self.sources.len()
    }

    fn fill<E>(&mut self, mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>) -> Result<(), (usize, E)> {
        while self.filled < self.sources.len() {
            let head = self.ask(self.filled, &mut pull)?;
            self.tree.set_first_head(self.filled, head);
            self.filled += 1;
        }
        Ok(())
    }

    /// P11: asks a source for its next item, when that is needed. The source is dropped if it has none.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn ask<E>(
        &mut self,
        source: usize,
        mut pull: impl FnMut(&mut I) -> Option<Result<T, E>>,
    ) -> Result<Option<T>, (usize, E)> {
        let Some(slot) = self.sources.get_mut(source) else { return Ok(None) };
        match slot.as_mut().and_then(&mut pull) {
            Some(Ok(item)) => Ok(Some(item)),
            Some(Err(error)) => Err((source, error)),
            None => {
                *slot = None;
                Ok(None)
            }
        }
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

    /// Takes the sources, after `f` was called with each that has a head here.
    pub(super) fn take_sources(&mut self, mut f: impl FnMut(&mut I)) -> Vec<Option<I>> {
        for (source, head) in self.sources.iter_mut().zip(self.tree.heads()) {
            if let (Some(source), Some(_)) = (source, head) {
                f(source);
            }
        }
        std::mem::take(&mut self.sources)
    }

    /// Drops all heads and sources. Should a drop panic, the others are dropped all the same.
    #[cold]
    pub(super) fn release(&mut self) {
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
    /// The items of a streak do not touch the tournament, nor a leaf.
    pub(super) fn fold<B>(mut self, init: B, mut f: impl FnMut(B, T) -> B) -> B {
        let mut folded = init;
        while let Ok(Some((_, item))) = self.next(pull) {
            folded = f(folded, item);
            if let Some(source) = self.tree.streak() {
                folded = self.fold_streak(source, folded, &mut f);
            }
        }
        folded
    }

    /// Folds the items of a source that come before the runner-up, and the item after them.
    #[inline]
    fn fold_streak<B>(&mut self, winner: usize, mut folded: B, f: &mut impl FnMut(B, T) -> B) -> B {
        let Some(Some(source)) = self.sources.get_mut(winner) else { return folded };
        loop {
            let Some(item) = source.next() else {
                self.sources[winner] = None;
                return folded;
            };
            if let Err(behind) = self.tree.ahead(&item) {
                let winner = self.tree.bring_behind(item, behind);
                return match self.tree.pop_decided(winner) {
                    Some((_, next)) => f(folded, next),
                    None => folded,
                };
            }
            folded = f(folded, item);
        }
    }
}

/// A source that a merge was not done with, as its `into_sources` gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undrained<S, T> {
    /// The index that the source has in the merge.
    pub index: usize,
    /// The item that was pulled from the source and has not been yielded. It comes before all that the
    /// source still has.
    pub head: Option<T>,
    /// The source.
    pub source: S,
    /// Whether the source has ended or failed and is only to be closed. Never for an iterator: those are
    /// dropped at their end.
    pub has_ended: bool,
}
