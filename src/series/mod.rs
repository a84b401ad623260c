//! Series of samples, and the labels that name them.
//!
//! A [`Series`] is a set of [`Labels`] that names it and the [`Chunk`]s of samples that were found for it. All of them are
//! plain values with public or readable parts. Chunks are bytes that this library never looks into.
//!
//! # Ordering
//!
//! | type | [`SortKey`](crate::SortKey) order | [`Ord`] |
//! |---|---|---|
//! | [`Labels`] | name, value, name, value, …, then the number of labels | the same |
//! | [`Series`] | its labels; the chunks take no part | none |
//! | [`Chunk`] | none | start, end, data |
//!
//! # Examples
//!
//! The series of two files, merged:
//!
//! ```
//! use losertree::{Series, merge};
//!
//! # fn main() -> Result<(), losertree::series::ParseLabelsError> {
//! let up = |job| format!(r#"{{__name__="up", job="{job}"}}"#).parse().map(|labels| Series::new(labels, vec![]));
//! let left = vec![up("api")?, up("db")?];
//! let right = vec![up("cache")?];
//!
//! let jobs: Vec<String> = merge([left, right])
//!     .filter_map(|series| Some(series.labels.get("job")?.into_owned()))
//!     .collect();
//! assert_eq!(jobs, ["api", "cache", "db"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Sources
//!
//! The shapes are those of `Series` and `AggrChunk` in `pkg/store/storepb` of thanos-io/thanos. The order of labels is
//! `labels.Compare` in `model/labels/labels.go` of prometheus/prometheus.

mod labels;
#[cfg(feature = "serde")]
mod labels_serde;
mod labels_text;
mod packed;
#[allow(clippy::module_inception)]
mod series;

pub use labels::{Labels, LabelsBuilder, LabelsIter};
pub use labels_text::ParseLabelsError;
pub use packed::LabelsError;
pub(crate) use packed::{escape, pieces, unescape};
pub use series::{Chunk, Series};
