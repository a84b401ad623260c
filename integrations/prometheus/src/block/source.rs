use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use losertree::error::SourceError;
use losertree::stream::{PollClose, PollNext};
use losertree::{Response, Series, Source};
use tokio::task::{JoinHandle, spawn_blocking};

use super::reader::BlockReader;
use super::{BlockError, Problem};

/// The series of one block for one query. Reads on the threads of the tokio runtime that are for what blocks.
///
/// # Closing
///
/// Tells the thread that reads to stop, and waits until it has returned. It waits for nothing but files and, as long as it has
/// patience, for memory. Then the buffers are given back, and the gate of the block is left.
pub struct BlockSource {
    state: State,
    stop: Arc<AtomicBool>,
}

enum State {
    /// Between two batches.
    Resting(Box<BlockReader>),
    Reading(JoinHandle<Read>),
    Closed,
}

/// The reader, and what it has read.
type Read = (Box<BlockReader>, Result<Option<Vec<Series>>, BlockError>);

impl BlockSource {
    /// Makes a source of a reader.
    #[must_use]
    pub fn new(reader: BlockReader) -> Self {
        Self { stop: reader.stop(), state: State::Resting(Box::new(reader)) }
    }
}

impl Source for BlockSource {
    type Item = Response;
    type Error = BlockError;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        loop {
            match std::mem::replace(&mut self.state, State::Closed) {
                State::Closed => return Poll::Ready(None),
                State::Resting(mut reader) => {
                    self.state = State::Reading(spawn_blocking(move || {
                        let read = reader.next_batch();
                        (reader, read)
                    }));
                }
                State::Reading(mut reading) => match Pin::new(&mut reading).poll(cx) {
                    Poll::Pending => {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((reader, Ok(batch)))) => {
                        self.state = State::Resting(reader);
                        return Poll::Ready(batch.map(|series| Ok(Response::Batch(series))));
                    }
                    Poll::Ready(Ok((reader, Err(error)))) => {
                        self.state = State::Resting(reader);
                        return Poll::Ready(Some(Err(SourceError::from(error))));
                    }
                    Poll::Ready(Err(failed)) => {
                        if let Ok(panic) = failed.try_into_panic() {
                            std::panic::resume_unwind(panic);
                        }
                        let stopped = BlockError::new(&super::error::shared("".into()), 0, Problem::Stopped);
                        return Poll::Ready(Some(Err(SourceError::from(stopped))));
                    }
                },
            }
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.stop.store(true, Ordering::Relaxed);
        if let State::Reading(reading) = &mut self.state {
            // What it has read is not wanted any more, and neither are its errors.
            drop(ready!(Pin::new(reading).poll(cx)));
        }
        self.state = State::Closed;
        Poll::Ready(Ok(()))
    }
}

/// The thread that reads gives back what it holds when it returns.
impl Drop for BlockSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for BlockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Resting(_) => "resting",
            State::Reading(_) => "reading",
            State::Closed => "closed",
        };
        f.debug_struct("BlockSource").field("state", &state).finish_non_exhaustive()
    }
}
