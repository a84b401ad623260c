use std::sync::atomic::Ordering;

use losertree::Series;

use crate::gateway::Served;

/// Puts the chunks of each series together, as they come out of the merge, and checks that they fit.
///
/// Holds one series at a time, and so the leases of at most as many chunks as there are blocks.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    served: &'a Served,
    current: Option<Series>,
    items: u64,
    series: u64,
    bytes: u64,
}

impl<'a> Answer<'a> {
    /// Starts an answer, which is added to `served` when it is dropped.
    pub(crate) const fn new(served: &'a Served) -> Self {
        Self { served, current: None, items: 0, series: 0, bytes: 0 }
    }

    /// How many series of blocks there were.
    pub(crate) const fn items(&self) -> u64 {
        self.items
    }

    /// How many different series there were.
    pub(crate) const fn series(&self) -> u64 {
        self.series
    }

    /// Adds the next series. The error says what is wrong with it.
    pub(crate) fn add(&mut self, series: Series) -> Result<(), String> {
        self.items += 1;
        self.bytes += series.chunks.iter().map(|chunk| chunk.data.len() as u64).sum::<u64>();
        match &mut self.current {
            Some(current) if current.labels == series.labels => {
                let end = current.chunks.last().map(|chunk| chunk.max_time_ms);
                if end >= series.chunks.first().map(|chunk| chunk.min_time_ms) {
                    return Err(format!("chunks of {} overlap", series.labels));
                }
                current.chunks.extend(series.chunks);
            }
            Some(current) if current.labels > series.labels => {
                return Err(format!("{} comes after {}", series.labels, current.labels));
            }
            _ => {
                self.series += 1;
                self.current = Some(series);
            }
        }
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
