/// What a source counts of what it does, by name: requests, bytes, rows that a filter took away. The names are the source's own.
///
/// A merge keeps the counters of each source in its [statistics](super::SourceStats::counters), and adds those of its sources up for a
/// merge above. Finding one is a binary search by its name.
///
/// # Examples
///
/// ```
/// use losertree::stream::Counters;
///
/// let mut counters = Counters::default();
/// counters.add("requests", 1);
/// counters.add("bytes", 4096);
/// counters.add("bytes", 100);
/// assert_eq!(counters.get("bytes"), Some(4196));
/// assert_eq!(counters.get("rows"), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sorted by name, each once.
    counts: Vec<(&'static str, u64)>,
}

impl Counters {
    /// Adds to a counter, which begins at 0 and stops at the largest number.
    pub fn add(&mut self, name: &'static str, count: u64) {
        match self.counts.binary_search_by_key(&name, |(name, _)| name) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (name, count)),
        }
    }

    /// Returns a counter, if it was added to.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        let at = self.counts.binary_search_by_key(&name, |(name, _)| name).ok()?;
        Some(self.counts[at].1)
    }

    /// Iterates over all counters, by name.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, u64)> {
        self.counts.iter().copied()
    }

    /// Returns whether nothing was counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Adds counters up.
impl Extend<(&'static str, u64)> for Counters {
    fn extend<I: IntoIterator<Item = (&'static str, u64)>>(&mut self, counters: I) {
        for (name, count) in counters {
            self.add(name, count);
        }
    }
}

/// Adds counters up.
impl FromIterator<(&'static str, u64)> for Counters {
    fn from_iter<I: IntoIterator<Item = (&'static str, u64)>>(counters: I) -> Self {
        let mut sum = Self::default();
        sum.extend(counters);
        sum
    }
}
