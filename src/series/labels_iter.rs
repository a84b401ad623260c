use std::borrow::Cow;
use std::fmt;
use std::iter::FusedIterator;

use super::Labels;
use super::packed::{Pairs, unescape};

/// An iterator over the names and values of [`Labels`]. Made by [`Labels::iter`].
#[derive(Clone)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct LabelsIter<'a> {
    pairs: Pairs<'a>,
}

impl<'a> LabelsIter<'a> {
    pub(super) fn new(labels: &'a Labels) -> Self {
        Self { pairs: labels.pairs() }
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.pairs.next().map(|pair| (unescape(pair.name), unescape(pair.value)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A pair takes two bytes at least.
        let rest = self.pairs.rest().len();
        (usize::from(rest > 0), Some(rest / 2))
    }

    fn count(self) -> usize {
        self.pairs.count()
    }
}

impl FusedIterator for LabelsIter<'_> {}

impl fmt::Debug for LabelsIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}
