//! Async merging of sources that are owned and closed.

mod closing;
mod from_stream;
mod named;
mod source;

use std::pin::Pin;

pub use closing::{Closing, closing};
pub use from_stream::{FromStream, from_stream};
pub use named::Named;
pub use source::Source;

/// Any source, boxed. Made by [`Source::boxed`].
pub type BoxSource<'a, T, E> = Pin<Box<dyn Source<Item = T, Error = E> + Send + 'a>>;
