use std::fmt;
use std::num::NonZeroU64;

use smallvec::SmallVec;
use twox_hash::XxHash64;

use crate::series::{Labels, escape, pieces, unescape};

/// What follows each name and each value in the hashed bytes. No UTF-8 has it; in packed labels it marks a NUL.
const SEPARATOR: u8 = 0xFF;

/// Up to how many bytes are hashed without an allocation.
const INLINE_BYTES: usize = 512;

/// Tells which series belong to one shard of a query: to shard `index` of `total`.
///
/// A query engine that aggregates [by](Self::by) or [without](Self::without) some labels divides the series by
/// just these, and asks for each shard on its own. All series of one group are then in one shard.
///
/// The shards of Thanos are the same, so that stores which shard by themselves and those for which it is done
/// here agree. No label is treated specially: neither that of the metric's name, unless it is named, nor
/// empty values.
///
/// Stores of Thanos match what is left *after* the replica labels were removed. Remove them first here too, or
/// else the replicas of a series may be taken to belong to different shards.
///
/// # The hash
///
/// The xxHash64, with seed 0, of the name, a byte `FF`, the value and a byte `FF` of each label that counts, in
/// the order of the names. The shard is the remainder of its division by `total`. It will not change: it is
/// what other processes compute as well.
///
/// # Complexity
///
/// Reads the labels once, with a binary search among the names given for each label. Allocates nothing for labels of up to
/// 512 bytes.
///
/// # Examples
///
/// ```
/// use losertree::Labels;
/// use losertree::response::ShardMatcher;
///
/// // For `sum by (job) (…)`, in three shards.
/// let shards = [0, 1, 2].map(|index| ShardMatcher::by(["job"], index, 3).unwrap());
/// let here = Labels::from_pairs([("__name__", "up"), ("job", "api"), ("pod", "a")])?;
/// let there = Labels::from_pairs([("__name__", "down"), ("job", "api"), ("pod", "b")])?;
///
/// let of = |labels| shards.iter().filter(|shard| shard.matches(labels)).collect::<Vec<_>>();
/// assert_eq!(of(&here).len(), 1);
/// assert_eq!(of(&here), of(&there));
/// # Ok::<(), losertree::series::LabelsError>(())
/// ```
///
/// # Sources
///
/// `ShardMatcher` in `pkg/store/storepb/shard_info.go` of thanos-io/thanos.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ShardMatcher {
    /// As they stand in packed labels; sorted.
    names: Box<[Box<[u8]>]>,
    /// Whether these names count, rather than all others.
    is_by: bool,
    index: u64,
    total: NonZeroU64,
}

impl ShardMatcher {
    /// Creates the shard `index` of `total`, where the labels with these names count.
    ///
    /// Names that a series does not have do not count. With no names all series are in one shard.
    ///
    /// # Errors
    ///
    /// [`ShardError::NoShards`] if `total` is 0, [`ShardError::NoSuchShard`] if `index` is not below it.
    pub fn by<N: AsRef<str>>(
        names: impl IntoIterator<Item = N>,
        index: u64,
        total: u64,
    ) -> Result<Self, ShardError> {
        Self::new(names, true, index, total)
    }

    /// Creates the shard `index` of `total`, where all labels count but those with these names.
    ///
    /// # Errors
    ///
    /// [`ShardError::NoShards`] if `total` is 0, [`ShardError::NoSuchShard`] if `index` is not below it.
    pub fn without<N: AsRef<str>>(
        names: impl IntoIterator<Item = N>,
        index: u64,
        total: u64,
    ) -> Result<Self, ShardError> {
        Self::new(names, false, index, total)
    }

    fn new<N: AsRef<str>>(
        names: impl IntoIterator<Item = N>,
        is_by: bool,
        index: u64,
        total: u64,
    ) -> Result<Self, ShardError> {
        let total = NonZeroU64::new(total).ok_or(ShardError::NoShards)?;
        if index >= total.get() {
            return Err(ShardError::NoSuchShard { index, total: total.get() });
        }
        let mut names: Box<[Box<[u8]>]> =
            names.into_iter().map(|name| escape(name.as_ref()).into_owned().into_boxed_slice()).collect();
        names.sort_unstable();
        Ok(Self { names, is_by, index, total })
    }

    /// Returns whether the series with these labels belongs to this shard. Of all shards it does to exactly one.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.hash(labels) % self.total == self.index
    }

    /// Returns which shard this is, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Returns how many shards there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total.get()
    }

    fn hash(&self, labels: &Labels) -> u64 {
        // In one piece: with a hasher that is given each string on its own it is 1.36 times the instructions (callgrind,
        // bench `response/16/None`).
        let mut hashed: SmallVec<[u8; INLINE_BYTES]> = SmallVec::new();
        let has_escapes = labels.packed().contains(&SEPARATOR);
        for pair in labels.pairs() {
            let is_named = self.names.binary_search_by(|name| (**name).cmp(pair.name)).is_ok();
            if is_named != self.is_by {
                continue;
            }
            for text in [pair.name, pair.value] {
                if has_escapes {
                    pieces(text).for_each(|piece| hashed.extend_from_slice(piece));
                } else {
                    hashed.extend_from_slice(text);
                }
                hashed.push(SEPARATOR);
            }
        }
        XxHash64::oneshot(0, &hashed)
    }
}

/// Shows the names as text.
impl fmt::Debug for ShardMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(|name| unescape(name)).collect();
        f.debug_struct("ShardMatcher")
            .field(if self.is_by { "by" } else { "without" }, &names)
            .field("index", &self.index)
            .field("total", &self.total)
            .finish()
    }
}

/// Why there is no such shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// There are to be no shards at all.
    #[error("series cannot be divided into 0 shards")]
    NoShards,
    /// The shards have smaller indices.
    #[error("there is no shard {index} of {total}: the last one is {}", .total - 1)]
    NoSuchShard {
        /// The index asked for.
        index: u64,
        /// How many shards there are.
        total: u64,
    },
}
