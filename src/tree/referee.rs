//! How a match is decided: by codes, and by heads where these do not tell.

use std::cmp::Ordering;
use std::hint::select_unpredictable;

use super::bracket::Bracket;
use super::codes::Kind;
use super::node::Node;
use crate::key::{OffsetCode, Order};

/// Who decides matches: the order, and the heads that it may look at.
pub(super) struct Referee<'a, T, O> {
    pub(super) order: &'a mut O,
    pub(super) heads: &'a [Option<T>],
}

impl<T, O: Order<T>> Referee<'_, T, O> {
    /// The player for the head of a source, with the code of that alone.
    #[inline]
    pub(super) fn player(&mut self, source: usize) -> Node {
        match self.heads.get(source) {
            Some(Some(head)) => Node::live(self.order.code(head), source),
            _ => Node::exhausted(source),
        }
    }

    /// The player for the head of a source, with a code of some kind: an offset-value code against nothing.
    #[inline]
    pub(super) fn player_by(&mut self, kind: Kind, source: usize) -> Node {
        let Some(Some(head)) = self.heads.get(source) else { return Node::exhausted(source) };
        let code = match kind {
            Kind::Key => self.order.code(head),
            Kind::Offset => self.order.first_code(head).0,
            Kind::Pair | Kind::Few => 0,
        };
        Node::live(code, source)
    }

    /// Returns whether `a` comes before `b`, by codes of the keys alone and by the heads.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn is_before(&mut self, a: Node, b: Node) -> bool {
        if O::EXACT || O::HAS_CODES && a.code != b.code {
            return a.is_before(b);
        }
        self.is_before_by_heads(a, b)
    }

    /// Returns whether `a` comes before `b`, by the heads.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn is_before_by_heads(&mut self, a: Node, b: Node) -> bool {
        match (a.head(self.heads), b.head(self.heads)) {
            (Some(x), Some(y)) => is_before(self.order, (a, x), (b, y)),
            // Exhausted ones have the greatest codes and ranks.
            _ => a.is_before(b),
        }
    }

    /// Plays a match by the codes of the keys alone, and by the heads; with conditional moves.
    #[inline]
    pub(super) fn play(&mut self, loser: &mut Node, challenger: Node) -> Node {
        let holder_wins = self.is_before(*loser, challenger);
        loser.exchange(holder_wins, challenger)
    }

    /// Plays a match by the heads; with a branch.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn play_by_heads(&mut self, loser: &mut Node, challenger: Node) -> Node {
        let holder = *loser;
        if self.is_before_by_heads(holder, challenger) {
            *loser = challenger;
            return holder;
        }
        challenger
    }

    /// Plays a match by the codes of the keys alone; by the heads where they are the same, which is counted.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn play_by_prefix(&mut self, loser: &mut Node, challenger: Node, ties: &mut usize) -> Node {
        if loser.code == challenger.code {
            return self.play_out_by_prefix(loser, challenger, ties);
        }
        loser.exchange(loser.code < challenger.code, challenger)
    }

    #[inline(never)]
    fn play_out_by_prefix(&mut self, loser: &mut Node, challenger: Node, ties: &mut usize) -> Node {
        *ties += 1;
        self.play_by_heads(loser, challenger)
    }

    /// Plays a match by offset-value codes against the same key.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn play_by_offset(&mut self, loser: &mut Node, challenger: Node) -> Node {
        if loser.code == challenger.code {
            return self.play_out_by_offset(loser, challenger);
        }
        loser.exchange(loser.code < challenger.code, challenger)
    }

    /// Plays a match between two that have one offset-value code: by the bytes behind what it stands for, and equal ones by rank.
    #[inline(never)]
    fn play_out_by_offset(&mut self, loser: &mut Node, challenger: Node) -> Node {
        let holder = *loser;
        let code = OffsetCode(holder.code);
        let (order, code) = match (holder.head(self.heads), challenger.head(self.heads)) {
            (Some(a), Some(b)) if !code.is_equal() => self.order.compare_coded(code, a, b),
            _ => (Ordering::Equal, code),
        };
        let holder_wins = order.then(holder.rank.cmp(&challenger.rank)).is_lt();
        let (winner, new) = if holder_wins { (holder, challenger) } else { (challenger, holder) };
        *loser = Node { code: code.0, ..new };
        winner
    }

    /// Has a challenger play the match at a node and those above it, where heads may have to be compared: with conditional moves.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn climb_from(&mut self, bracket: &mut Bracket, node: usize, challenger: Node) -> Node {
        match challenger.head(self.heads) {
            Some(head) => climb_from(self.order, self.heads, bracket.losers_mut(), node, (challenger, head)),
            None => bracket.climb_from(node, challenger, |loser, challenger| self.play(loser, challenger)),
        }
    }

    /// Has the head of a source play its matches where it has no code against what the codes on its way are against: by its bytes,
    /// until it loses. Whom it beats gets a code against it; who beats it goes on with the code that is there.
    pub(super) fn climb_by_bytes(&mut self, bracket: &mut Bracket, source: usize) -> Node {
        let is_live = matches!(self.heads.get(source), Some(Some(_)));
        let mut is_beaten = !is_live;
        let challenger =
            if is_live { Node::live(OffsetCode::UNKNOWN.0, source) } else { Node::exhausted(source) };
        bracket.climb(source, challenger, |loser, challenger| {
            let holder = *loser;
            if is_beaten {
                return self.play_by_offset(loser, challenger);
            }
            let (Some(opponent), Some(head)) = (holder.head(self.heads), challenger.head(self.heads)) else {
                return challenger;
            };
            let (order, code) = self.order.compare_all(opponent, head);
            if order.then(holder.rank.cmp(&challenger.rank)).is_lt() {
                is_beaten = true;
                *loser = Node { code: code.0, ..challenger };
                return holder;
            }
            loser.code = code.0;
            challenger
        })
    }
}

/// A live player and the head that it plays for.
pub(super) type Player<'a, T> = (Node, &'a T);

/// Returns whether `a` comes before `b`.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn is_before<T, O: Order<T>>(order: &mut O, a: Player<'_, T>, b: Player<'_, T>) -> bool {
    let ((a, head_a), (b, head_b)) = (a, b);
    if O::EXACT || O::HAS_CODES && a.code != b.code {
        return a.is_before(b);
    }
    // As numbers, less is -1 and equal is 0: a `match` here would branch on what cannot be predicted.
    (order.compare(head_a, head_b) as i8) < i8::from(a.rank < b.rank)
}

/// Returns whether an item that is in no leaf comes before the head of an opponent, if that has one.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn beats<T, O: Order<T>>(
    order: &mut O,
    heads: &[Option<T>],
    player: Player<'_, T>,
    opponent: Node,
) -> bool {
    if O::EXACT || O::HAS_CODES && player.0.code != opponent.code {
        return player.0.is_before(opponent);
    }
    opponent.head(heads).is_none_or(|head| is_before(order, player, (opponent, head)))
}

/// Has a challenger play the match at a node and those above it, where heads may have to be compared: with conditional moves.
///
/// Its head goes along by reference. Looked up for each match, it takes 1.1 times as long at K = 16 and 1.16 times at K = 1024
/// (bench `scoreboard`, `losertree_by`).
#[allow(clippy::inline_always)]
#[inline(always)]
fn climb_from<'a, T, O: Order<T>>(
    order: &mut O,
    heads: &'a [Option<T>],
    losers: &mut [Node],
    mut node: usize,
    (mut challenger, mut head): Player<'a, T>,
) -> Node {
    // One check is the end of the way and that of the index.
    let losers = &mut losers[1..];
    while let Some(loser) = losers.get_mut(node.wrapping_sub(1)) {
        node /= 2;
        let holder = *loser;
        // Without an opponent the challenger goes on.
        let Some(opponent) = holder.head(heads) else { continue };
        let holder_wins = is_before(order, (holder, opponent), (challenger, head));
        head = select_unpredictable(holder_wins, opponent, head);
        if O::HAS_CODES {
            challenger = loser.exchange(holder_wins, challenger);
        } else {
            // All codes are the same.
            loser.rank = select_unpredictable(holder_wins, challenger.rank, holder.rank);
            challenger.rank = select_unpredictable(holder_wins, holder.rank, challenger.rank);
        }
    }
    challenger
}

/// Puts a head in the leaf of its source, which has none, and has it climb from there. Returns the winner.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn enter<T, O: Order<T>>(
    order: &mut O,
    heads: &mut [Option<T>],
    losers: &mut [Node],
    (source, head): (usize, T),
) -> Node {
    let Some(leaf) = heads.get_mut(source) else { return Node::exhausted(source) };
    // See `put` of the tree.
    drop(leaf.replace(head));
    let Some(Some(head)) = heads.get(source) else { return Node::exhausted(source) };
    let challenger = Node::live(order.code(head), source);
    let node = (losers.len() + source) >> 1;
    climb_from(order, heads, losers, node, (challenger, head))
}

/// [`enter`] for heads that are [small](is_small).
///
/// It is a call. So the compiler knows that no loser is among the heads, and where these are numbers it compares what goes along,
/// and does not wait for a load in each match. Inlined, it takes 1.2 times as long for `u64` at K = 4 and 1.4 times at K = 64 and 256
/// (bench `scoreboard`, `losertree_by`, where the compiler did not find out by chance).
#[inline(never)]
pub(super) fn enter_small<T, O: Order<T>>(
    order: &mut O,
    heads: &mut [Option<T>],
    losers: &mut [Node],
    head: (usize, T),
) -> Node {
    enter(order, heads, losers, head)
}

/// Whether a head fits into two registers, so that a call does not copy it.
pub(super) const fn is_small<T>() -> bool {
    size_of::<T>() <= 2 * size_of::<usize>()
}
