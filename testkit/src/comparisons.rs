use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use crate::CountedKey;

/// A count of comparisons.
///
/// A handle: clones share one count, and so do the comparators and keys made of it.
///
/// # Examples
///
/// ```
/// use losertree_testkit::Comparisons;
///
/// let comparisons = Comparisons::new();
/// let merge = losertree::merge_by([vec![1, 3], vec![2]], comparisons.counting(Ord::cmp));
/// assert_eq!(merge.collect::<Vec<i32>>(), [1, 2, 3]);
/// // (K − 1) + N·⌈log2 K⌉
/// assert!(comparisons.count() <= 1 + 3);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Comparisons {
    count: Arc<AtomicUsize>,
}

impl Comparisons {
    /// Creates a count of none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many comparisons there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Atomic::SeqCst)
    }

    /// Returns how many comparisons there were since this was last asked.
    // Called for its effect as often as for its result.
    #[allow(clippy::must_use_candidate)]
    pub fn take(&self) -> usize {
        self.count.swap(0, Atomic::SeqCst)
    }

    /// Makes a comparator that counts its calls here.
    pub fn counting<T, F>(&self, mut compare: F) -> impl FnMut(&T, &T) -> Ordering + use<T, F>
    where
        F: FnMut(&T, &T) -> Ordering,
    {
        let count = self.clone();
        move |a, b| {
            count.add();
            compare(a, b)
        }
    }

    /// Makes a key that counts its comparisons here.
    #[must_use]
    pub fn key(&self, value: u64) -> CountedKey {
        CountedKey::new(value, self.clone())
    }

    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Atomic::SeqCst);
    }
}

/// Makes a comparator that panics when it is called for the `n`-th time, counted from 1, and each time after.
///
/// # Panics
///
/// That is, the comparator does.
pub fn panic_at<T, F>(n: usize, mut compare: F) -> impl FnMut(&T, &T) -> Ordering + use<T, F>
where
    F: FnMut(&T, &T) -> Ordering,
{
    let mut calls = 0;
    move |a, b| {
        calls += 1;
        assert!(calls < n, "the comparator panics as asked, in call {calls}");
        compare(a, b)
    }
}
