//! The vocabulary of series streams: what metric stores send one another.
//!
//! A [`Series`] is a set of [`Labels`] that names it and the [`Chunk`]s of samples that were found for it. A
//! store answers a query with a stream of [`Response`]s: series sorted by their labels, and between them
//! [`Warning`]s and hints.
//!
//! All of them are plain values with public or readable parts. Chunks and hints are bytes that this library
//! never looks into.
//!
//! # Ordering
//!
//! | type | [`SortKey`](crate::SortKey) order | [`Ord`] |
//! |---|---|---|
//! | [`Labels`] | name, value, name, value, …, then the number of labels | the same |
//! | [`Series`] | its labels; the chunks take no part | none |
//! | [`Response`] | all that is not a series first, then series by labels | none |
//! | [`Chunk`] | none | start, end, data |
//!
//! # Examples
//!
//! The answers of two stores, merged:
//!
//! ```
//! use losertree::{Response, Series, Warning, merge};
//!
//! # fn main() -> Result<(), losertree::series::ParseLabelsError> {
//! let up = |job| format!(r#"{{__name__="up", job="{job}"}}"#).parse().map(|labels| Series::new(labels, vec![]));
//! let left = vec![Response::from(up("api")?), Response::from(up("db")?)];
//! let right = vec![Response::from(Warning::new("block 7 is missing")), Response::from(up("cache")?)];
//!
//! let jobs: Vec<String> = merge([left, right])
//!     .filter_map(Response::into_series)
//!     .filter_map(|series| Some(series.labels.get("job")?.into_owned()))
//!     .collect();
//! assert_eq!(jobs, ["api", "cache", "db"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Sources
//!
//! The shapes are those of `Series`, `AggrChunk` and `SeriesResponse` in `pkg/store/storepb` of
//! thanos-io/thanos. The order of labels is `labels.Compare` in `model/labels/labels.go` of
//! prometheus/prometheus, the order of responses that of `pkg/store/proxy_merge.go` of thanos-io/thanos.

mod labels;
#[cfg(feature = "serde")]
mod labels_serde;
mod labels_text;
mod packed;
mod response;
#[allow(clippy::module_inception)]
mod series;

pub use labels::{Labels, LabelsBuilder, LabelsIter};
pub use labels_text::ParseLabelsError;
pub use packed::LabelsError;
pub(crate) use packed::{escape, pieces, unescape};
pub use response::{Response, Warning};
pub use series::{Chunk, Series};
