//! Remote read: its messages, writing its answers, and asking other servers.

mod client;
pub(crate) mod frames;
pub mod proto;
pub(crate) mod samples;
pub(crate) mod weight;
mod wire;

pub use client::{AddressError, RemoteError, RemoteLimits, RemoteStore};
pub use frames::CONTENT_TYPE as STREAMED_CONTENT_TYPE;
pub use samples::SamplesError;
