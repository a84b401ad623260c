use std::hint::select_unpredictable;

/// A player of the tournament: the code of a source's head, and the rank of the source.
///
/// Players compare as the pair (code, rank). A live source has a code that its order made and its index as
/// rank; an exhausted one has the greatest code and a rank above that of every live source. So exhausted
/// sources lose against live ones whatever the codes are, and equal codes go to the smaller index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(super) code: u64,
    pub(super) rank: u64,
}

impl Node {
    const EXHAUSTED: u64 = 1 << 63;

    #[inline]
    pub(super) const fn live(code: u64, source: usize) -> Self {
        Self { code, rank: source as u64 }
    }

    #[inline]
    pub(super) const fn exhausted(source: usize) -> Self {
        Self { code: u64::MAX, rank: Self::EXHAUSTED | source as u64 }
    }

    /// The index of the source.
    // A rank is made from a `usize`, so it goes back into one.
    #[allow(clippy::cast_possible_truncation)]
    #[inline]
    pub(super) const fn source(self) -> usize {
        (self.rank & !Self::EXHAUSTED) as usize
    }

    /// Whether this player comes before `other` by code and rank alone.
    ///
    /// Written with `|` and `&` so that there is nothing to branch on.
    #[allow(clippy::needless_bitwise_bool)]
    #[inline]
    pub(super) const fn is_before(self, other: Self) -> bool {
        (self.code < other.code) | ((self.code == other.code) & (self.rank < other.rank))
    }

    /// Returns `a` if `condition`, else `b`, by conditional moves.
    #[inline]
    pub(super) fn select(condition: bool, a: Self, b: Self) -> Self {
        Self {
            code: select_unpredictable(condition, a.code, b.code),
            rank: select_unpredictable(condition, a.rank, b.rank),
        }
    }
}
