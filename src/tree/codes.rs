//! Which codes the nodes hold, where keys are strings of bytes.
//!
//! They begin with the first eight bytes of the keys, which cost nothing to keep. Where these are often equal, *offset-value codes*
//! take their place, which are against the item that was taken last: see [`OffsetCode`]. For identifiers or words these would be
//! a burden. For four sources, too: there the bytes of keys are compared right away, once codes turn out to tell too little. Two and
//! three sources compare them from the beginning.

use crate::key::{KeyBuffer, OffsetCode};

/// With so many leaves or fewer there are no offset-value codes, unless they are wanted. By these, label sets that each come from two
/// sources take 1.5 times as long with four sources (bench `scoreboard`, `labels/machines_twice`).
pub(super) const FEW_LEAVES: usize = 4;

/// How many more ties than items there must be for offset-value codes to begin, for each leaf. Where all keys have their first bytes
/// in common, there are as many ties for an item as the tree has levels; among words there is less than one.
const TIES_PER_LEAF: usize = 8;

/// What the codes of nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Codes of the keys alone.
    Key,
    /// Offset-value codes against the winner of the match.
    Offset,
    /// None, for strings of bytes of one or two sources.
    Pair,
    /// None, for strings of bytes of three sources, or of four whose first bytes tell too little.
    Few,
}

/// Which codes the nodes hold, and what must be known to choose and to make them.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    pub(super) kind: Kind,
    /// Whether they are to be offset-value codes however few the leaves, so that each head that is taken has a code against the one before.
    pub(super) are_wanted: bool,
    /// How many more matches than items have had equal codes, since that was last less.
    pub(super) ties: usize,
    /// The key of the head that was taken last, or, while nothing is due, of the winner. Only where codes are wanted and sources
    /// do not hand them in.
    pub(super) before: KeyBuffer,
    /// The offset-value code of the head that was taken last, against the one taken before it.
    pub(super) taken: OffsetCode,
}

impl Codes {
    pub(super) fn new() -> Self {
        Self {
            kind: Kind::Key,
            are_wanted: false,
            ties: 0,
            before: KeyBuffer::default(),
            taken: OffsetCode::UNKNOWN,
        }
    }

    /// Notes that an item has been found by the codes of keys alone.
    #[inline]
    pub(super) const fn note_item(&mut self) {
        self.ties = self.ties.saturating_sub(1);
    }

    /// Returns whether the codes of keys alone have turned out to tell too little.
    #[inline]
    pub(super) const fn tell_too_little(&self, leaves: usize) -> bool {
        self.ties > TIES_PER_LEAF * leaves
    }

    /// Goes over to codes of another kind. Nothing is known of heads that were taken before.
    pub(super) fn set(&mut self, kind: Kind) {
        if self.kind != kind {
            *self = Self { kind, are_wanted: self.are_wanted, ..Self::new() };
        }
    }
}
