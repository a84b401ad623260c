//! K-way merge with a loser tree.

pub mod error;
pub mod key;
pub mod merge;
pub mod resource;
pub mod series;
pub mod stream;
pub mod tree;

mod source_id;

pub use error::{Phase, SourceError};
pub use key::SortKey;
pub use merge::{
    Merge, MergeSorted, TryMerge, merge, merge_by, merge_by_key, merge_with, try_merge, try_merge_with,
};
pub use resource::LeakLedger;
pub use series::{Chunk, Labels, LabelsBuilder, Response, Series, Warning};
pub use source_id::SourceId;
pub use stream::{BoxSource, ProxyResponseLoserTree, Source, closing, from_stream};
