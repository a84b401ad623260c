//! A store: one scrape as a source of series.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use losertree::stream::Received;
use losertree::{Series, SortKey, Source};

use crate::exposition::{self, Malformed, Problem};
use crate::input::Input;

/// Gives the series of one input, sorted by their labels.
///
/// A scrape comes in the order of its exporter, so all of it is read and sorted before the first series can
/// be given. That happens at the first poll; creating a store does no I/O.
///
/// The poll blocks while it reads, which is all right for a program that has nothing else to do. In a service
/// the first poll would start the reading and be `Pending`.
///
/// # Closing
///
/// Drops the series not yet given. The input itself is open only while it is read.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    input: Input,
    replica_labels: &'a [String],
    /// What is still to be given; `None` before the first poll. It need not tell a closed store from one
    /// that is unread, since the merge polls neither after their end.
    series: Option<vec::IntoIter<Series>>,
    bytes_read: u64,
}

/// Why a store fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open {path}")]
    Open {
        path: String,
        #[source]
        error: io::Error,
    },
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        error: io::Error,
    },
    #[error("{path}:{line}: {problem}")]
    Malformed { path: String, line: usize, problem: Problem },
}

impl<'a> Store<'a> {
    /// Creates a store that leaves `replica_labels` out of its series.
    pub(crate) const fn new(input: Input, replica_labels: &'a [String]) -> Self {
        Self { input, replica_labels, series: None, bytes_read: 0 }
    }

    fn read(&mut self) -> Result<Vec<Series>, StoreError> {
        let path = || self.input.name().to_owned();
        let mut scrape = Vec::new();
        let read = match self.input.open() {
            Ok(mut input) => input.read_to_end(&mut scrape),
            Err(error) => return Err(StoreError::Open { path: path(), error }),
        };
        // What an interrupted reading got counts too.
        self.bytes_read += scrape.len() as u64;
        read.map_err(|error| StoreError::Read { path: path(), error })?;
        let malformed = |Malformed { line, problem }| StoreError::Malformed { path: path(), line, problem };
        let mut all = exposition::parse(&scrape).map_err(malformed)?;
        self.remove_replica_labels(&mut all);
        // After labels were removed, for that changes the order. Stable: equal series stay as in the file.
        all.sort_by(SortKey::compare);
        Ok(all)
    }

    fn remove_replica_labels(&self, all: &mut [Series]) {
        if self.replica_labels.is_empty() {
            return;
        }
        for series in all {
            series.labels = series.labels.without(self.replica_labels);
        }
    }
}

impl Source for Store<'_> {
    type Item = Series;
    type Error = StoreError;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Series, StoreError>>> {
        let store = &mut *self;
        let mut series = match store.series.take() {
            Some(series) => series,
            None => store.read()?.into_iter(),
        };
        let next = series.next().map(Ok);
        store.series = Some(series);
        Poll::Ready(next)
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        self.series = None;
        Poll::Ready(Ok(()))
    }

    fn name(&self) -> Option<&str> {
        Some(self.input.name())
    }

    fn received(&self) -> Option<Received> {
        Some(Received { bytes: self.bytes_read, ..Received::default() })
    }
}
