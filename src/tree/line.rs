//! Three sources in a line.
//!
//! In a tree of four leaves a challenger plays two matches, one after the other, at nodes that depend on its source. In a
//! line, the losers are sorted, the runner-up first, and the challenger is compared with both at once: the way from
//! a head to the next winner has one match less, and none against a leaf that does not exist.
//!
//! A line is kept in the nodes: node 1 holds the runner-up, node 2 the last one. It takes 0.65 of the time that a tree does where
//! three sources have a comparator (bench `scoreboard`, `u64/uniform/3`).

use super::bracket::Bracket;
use super::codes::Kind;
use super::node::Node;
use super::referee::Referee;
use crate::key::Order;

/// Has a challenger for the winner take its place in the line, and returns the new winner. It may be known not to come before
/// the runner-up.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn climb<T, O: Order<T>>(
    bracket: &mut Bracket,
    referee: &mut Referee<'_, T, O>,
    challenger: Node,
    is_behind: bool,
) -> Node {
    let Some([_, first, second, _]) = bracket.line_mut() else { return challenger };
    let (a, b) = (*first, *second);
    if !O::EXACT && O::PARTS > 0 {
        // By branches: such keys are seldom in a near cache, see the module documentation of the tree.
        if !is_behind && referee.is_before_by_heads(challenger, a) {
            return challenger;
        }
        (*first, *second) =
            if referee.is_before_by_heads(challenger, b) { (challenger, b) } else { (b, challenger) };
        return a;
    }
    let before_a = !is_behind && referee.is_before(challenger, a);
    // It does not matter what an order that is none says then: each keeps one place.
    let before_b = referee.is_before(challenger, b) | before_a;
    place(bracket, challenger, before_a, before_b)
}

/// Puts a challenger in its place in the line, before the runner-up and before the last one or not, and returns the winner.
#[inline]
pub(super) fn place(bracket: &mut Bracket, challenger: Node, before_a: bool, before_b: bool) -> Node {
    let Some([_, first, second, _]) = bracket.line_mut() else { return challenger };
    let (a, b) = (*first, *second);
    *first = Node::select(before_a, a, Node::select(before_b, challenger, b));
    *second = Node::select(before_b, b, challenger);
    Node::select(before_a, challenger, a)
}

/// Puts all players in a line, and returns the winner.
pub(super) fn build<T, O: Order<T>>(
    bracket: &mut Bracket,
    referee: &mut Referee<'_, T, O>,
    kind: Kind,
) -> Node {
    let Some(line) = bracket.line_mut() else { return Node::exhausted(0) };
    for source in 0..4 {
        let mut place = source;
        line[place] = referee.player_by(kind, source);
        while place > 0 && referee.is_before(line[place], line[place - 1]) {
            line.swap(place, place - 1);
            place -= 1;
        }
    }
    line[0]
}

/// Puts the winner in the line, in the place of `source`, as if that had won.
pub(super) fn vacate(bracket: &mut Bracket, source: usize, winner: Node) {
    let Some([_, first, second, _]) = bracket.line_mut() else { return };
    if first.source() == source {
        *first = winner;
    } else if second.source() == source {
        *second = *first;
        *first = winner;
    }
}

/// Makes a line of a tree of two that has grown to four leaves: who is there comes before those who are not.
pub(super) fn enter(bracket: &mut Bracket) {
    if let Some([_, first, second, _]) = bracket.line_mut() {
        std::mem::swap(first, second);
    }
}

/// Makes a tree of a line, for a fourth source to come.
pub(super) fn leave(bracket: &mut Bracket, winner: Node) {
    let Some([_, first, second, _]) = bracket.line_mut() else { return };
    // The first two sources meet in node 2, and the better of them meets the third in node 1.
    if winner.source() != 2 && first.source() != 2 {
        std::mem::swap(first, second);
    }
}
