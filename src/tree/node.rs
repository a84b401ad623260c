use std::hint::select_unpredictable;

/// A player of the tournament: the code of a source's head, and the rank of the source.
///
/// P1: players compare as the pair (code, rank). A live source has a code that its order made and its index as
/// rank; an exhausted one has the greatest code and a rank above that of every live source. So exhausted
/// sources lose against live ones whatever the codes are, and equal codes go to the smaller index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
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

    #[inline]
    pub(super) const fn is_live(self) -> bool {
        self.rank < Self::EXHAUSTED
    }

    /// The index of the source.
    // A rank is made from a `usize`, so it goes back into one.
    #[allow(clippy::cast_possible_truncation)]
    #[inline]
    pub(super) const fn source(self) -> usize {
        (self.rank & !Self::EXHAUSTED) as usize
    }

    /// The head of the source, unless the player is exhausted.
    #[inline]
    pub(super) fn head<T>(self, heads: &[Option<T>]) -> Option<&T> {
        // The bit of an exhausted one makes the rank greater than any index.
        heads.get(usize::try_from(self.rank).ok()?)?.as_ref()
    }

    /// Whether this player comes before `other` by code and rank alone.
    ///
    /// As one number of 128 bits: a subtraction with borrow, on what is the longest chain of dependencies.
    /// Comparing the halves took 1.2 times as long at K = 16 and 1.4 times at K = 256 (bench `scoreboard`).
    #[inline]
    pub(super) const fn is_before(self, other: Self) -> bool {
        self.as_number() < other.as_number()
    }

    #[inline]
    const fn as_number(self) -> u128 {
        ((self.code as u128) << 64) | self.rank as u128
    }

    /// Returns `a` if `condition`, else `b`, by conditional moves; by halves, or it becomes a branch. In a loop it may become one all the
    /// same, if the condition takes longer than what is chosen: see [`first`](super::bracket::Bracket::first).
    #[inline]
    pub(super) fn select(condition: bool, a: Self, b: Self) -> Self {
        Self {
            code: select_unpredictable(condition, a.code, b.code),
            rank: select_unpredictable(condition, a.rank, b.rank),
        }
    }

    /// Plays a match by conditional moves: `holder_wins` is whether `self`, the loser of the match before, beats the challenger.
    /// Keeps the new loser and returns the winner.
    #[inline]
    pub(super) fn exchange(&mut self, holder_wins: bool, challenger: Self) -> Self {
        let holder = *self;
        *self = Self::select(holder_wins, challenger, holder);
        Self::select(holder_wins, holder, challenger)
    }
}
