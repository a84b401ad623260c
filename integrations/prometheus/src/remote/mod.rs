//! Remote read: its messages, and writing its answers.

pub(crate) mod frames;
pub mod proto;
pub(crate) mod samples;
mod wire;

pub use frames::CONTENT_TYPE as STREAMED_CONTENT_TYPE;
pub use samples::SamplesError;
