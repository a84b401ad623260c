//! Async merging of sources that are owned and closed.

mod builder;
mod close;
mod close_error;
mod closing;
mod drive;
mod from_stream;
mod merge_error;
mod named;
mod next_with_source;
mod order_checker;
mod policy;
mod proxy_response_loser_tree;
mod push_error;
mod readiness;
mod reports;
mod slot;
mod source;
mod stats;

use std::pin::Pin;

pub use builder::Builder;
pub use close::Close;
pub use close_error::CloseError;
pub use closing::{Closing, closing};
pub use from_stream::{FromStream, from_stream};
pub use merge_error::{MergeError, OutOfOrder};
pub use named::Named;
pub use next_with_source::NextWithSource;
pub use policy::{ErrorPolicy, OrderCheck};
pub use proxy_response_loser_tree::ProxyResponseLoserTree;
pub use push_error::PushError;
pub use source::Source;
pub use stats::{MergeStats, SourceEnd, SourceStats};

/// Any source, boxed. Made by [`Source::boxed`].
pub type BoxSource<'a, T, E> = Pin<Box<dyn Source<Item = T, Error = E> + Send + 'a>>;

/// What a merge yields with the source named: the source's index and the item, or an error.
pub type Yielded<T, E> = Result<(usize, T), MergeError<E>>;
