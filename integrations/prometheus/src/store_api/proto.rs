//! The messages and services of the StoreAPI, made of the files in `proto`, where their fields are documented.

#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]

pub use thanos::*;

/// The messages and services of Thanos.
pub mod thanos {
    tonic::include_proto!("thanos");

    /// What a server says of itself.
    pub mod info {
        tonic::include_proto!("thanos.info");
    }
}

/// What Thanos has taken from Prometheus.
pub mod prometheus_copy {
    tonic::include_proto!("prometheus_copy");
}
