//! How items are ordered: keys, their codes, and the orders built from them.
//!
//! A merge spends its time comparing. So what it compares decides how fast it is. Every order in this
//! library has two halves:
//!
//! - a **code**: a `u64` that can be copied into the nodes of the tournament and compared without touching
//!   the item. Codes preserve order: a smaller code means a smaller item;
//! - a **comparison** of the items themselves, which is consulted only where two codes are equal, and never
//!   where the code is *exact*.
//!
//! Types that have both implement [`SortKey`]: integers, floats, strings, byte strings, tuples,
//! [`Labels`](crate::Labels) and so on. [`merge`](crate::merge()) uses it. [`By`] orders any type by
//! a comparator and has no code. [`ByKey`] and [`ByKeyRef`] order items by a [`SortKey`] taken out of them. [`Reversed`]
//! turns an order round.
//!
//! | order | code | comparison |
//! |---|---|---|
//! | [`Natural`] over `u64`, `(u32, u32)`, `[u8; 8]`, … | exact | not called by the tournament |
//! | [`Natural`] over `String`, `(u64, u64)`, `Labels`, … | a prefix of the key | on equal prefixes |
//! | [`By`] | none | always |
//! | [`ByKey`], [`ByKeyRef`] | that of the key | on equal codes, if inexact |
//! | [`ByOffsetCode`] | an offset-value code that the source hands in | on equal codes, behind what they stand for |
//!
//! # Offset-value codes
//!
//! The codes above are of one key alone. Keys that are strings of bytes, or tuples of such, also have codes *against the
//! key before*: an [`OffsetCode`] says where the two first differ, and how the key goes on there. Neighbours in a sorted
//! source have long beginnings in common, as the series of one metric do. Codes of one key cannot tell these apart. A
//! tournament of more than four sources goes over to offset-value codes when codes of one key are often the same. It then compares
//! each item once with the runner-up, and most matches by numbers. For fewer sources, or for keys that differ early, that would
//! cost more.
//!
//! Sources that know these codes hand them in as [`Coded`] items, and merges hand them on.
//!
//! Ties are not broken here: an order says *equal*, and the tournament then prefers the source with the
//! smaller index. That makes every merge stable.

mod coded;
mod offset_code;
mod order;
mod shared_prefix;
mod sort_key;

pub use coded::{ByOffsetCode, Coded};
pub(crate) use offset_code::KeyBuffer;
pub use offset_code::OffsetCode;
pub(crate) use order::ByRef;
pub(crate) use order::sealed::Sealed;
pub use order::{By, ByKey, ByKeyRef, Natural, Order, Reversed};
pub(crate) use shared_prefix::{SharedPrefix, shared_bytes};
pub use sort_key::SortKey;
pub(crate) use sort_key::{MOST_PARTS, first_bytes, has_codes};
