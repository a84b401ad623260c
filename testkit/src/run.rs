use std::fmt::Debug;

/// What a [`Driver`](crate::Driver) got out of a stream, and why it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run may have ended otherwise than at the end of the stream"]
pub struct Run<T> {
    /// The items, in the order in which they came.
    pub items: Vec<T>,
    /// Why it stopped.
    pub end: End,
}

/// Why a [`Driver`](crate::Driver) stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The stream has ended.
    Finished,
    /// The stream has given as many items as were asked for.
    Enough,
    /// The stream is idle, and no source is going to wake.
    Deadlock {
        /// The sources that never wake by their script. If there are none, a wake-up was lost.
        stuck: Vec<usize>,
    },
    /// The stream was polled as often as the driver allows.
    OutOfPolls,
    /// The stream panicked, with this message.
    Panicked(String),
}

impl<T: Debug> Run<T> {
    /// Returns the items of a stream that has ended.
    ///
    /// # Panics
    ///
    /// If it has not.
    #[track_caller]
    #[must_use]
    pub fn finished(self) -> Vec<T> {
        assert_eq!(self.end, End::Finished, "the stream did not end; it gave {:?}", self.items);
        self.items
    }
}

impl<T: Debug, E: Debug> Run<Result<T, E>> {
    /// Returns the items of a stream that has ended without an error.
    ///
    /// # Panics
    ///
    /// If it has not.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Vec<T> {
        let item = |(at, item): (usize, Result<T, E>)| match item {
            Ok(item) => item,
            Err(error) => panic!("item {at} of the stream is an error: {error:?}"),
        };
        self.finished().into_iter().enumerate().map(item).collect()
    }

    /// Returns the items that are not errors, however the run ended.
    #[must_use]
    pub fn oks(self) -> Vec<T> {
        self.items.into_iter().filter_map(Result::ok).collect()
    }
}
