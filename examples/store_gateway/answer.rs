use std::sync::atomic::Ordering;

use losertree::{Labels, Series};

use crate::gateway::Served;

/// Counts what comes out of a query, and checks that it fits. Keeps no chunks.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    served: &'a Served,
    before: Option<Labels>,
    items: u64,
    series: u64,
    bytes: u64,
}

impl<'a> Answer<'a> {
    /// Starts an answer, which is added to `served` when it is dropped.
    pub(crate) const fn new(served: &'a Served) -> Self {
        Self { served, before: None, items: 0, series: 0, bytes: 0 }
    }

    /// How many series of blocks there were: each has given one chunk.
    pub(crate) const fn items(&self) -> u64 {
        self.items
    }

    /// How many different series there were.
    pub(crate) const fn series(&self) -> u64 {
        self.series
    }

    /// Adds the next series. The error says what is wrong with it.
    pub(crate) fn add(&mut self, series: Series) -> Result<(), String> {
        let Series { labels, chunks, .. } = series;
        self.series += 1;
        self.items += chunks.len() as u64;
        self.bytes += chunks.iter().map(|chunk| chunk.data.len() as u64).sum::<u64>();
        if !chunks.is_sorted_by(|one, next| one.max_time_ms < next.min_time_ms) {
            return Err(format!("chunks of {labels} overlap"));
        }
        if let Some(before) = self.before.as_ref().filter(|before| **before >= labels) {
            return Err(format!("{labels} comes after {before}"));
        }
        self.before = Some(labels);
        Ok(())
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.served.items.fetch_add(self.items, Ordering::Relaxed);
        self.served.series.fetch_add(self.series, Ordering::Relaxed);
        self.served.bytes.fetch_add(self.bytes, Ordering::Relaxed);
    }
}
