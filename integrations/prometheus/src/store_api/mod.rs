//! The StoreAPI of Thanos, by gRPC: serving it, and asking servers that speak it.
//!
//! | RPC | |
//! |---|---|
//! | `thanos.Store/Series` | series by matchers, in the order of their labels, streamed |
//! | `thanos.Store/LabelNames`, `LabelValues` | the names and values of labels |
//! | `thanos.info.Info/Info` | which series a server has, by their external labels and times |
//!
//! A [`StoreApiStore`] makes a server a store of a query, and a [`StoreApiServer`] makes a gateway such a server. So gateways can
//! ask gateways: closing goes through all of them, since each breaks off what it has asked when it is not asked itself any more.
//!
//! The files of the messages are in the folder `proto`, as Thanos has them.

pub mod channel;
mod client;
mod codec;
mod labels;
mod messages;
pub mod proto;
mod request;
mod server;
mod service;

pub use client::{StoreApiError, StoreApiStore};
pub(crate) use request::Shard;
pub use server::StoreApiServer;
