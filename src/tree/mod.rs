//! The tournament: a tree of losers over the heads of many sources.
//!
//! # The problem
//!
//! A merge of K sorted sources asks, once for each item, which of K heads is the smallest. A binary
//! heap answers with two comparisons a level, because an item on its way down must be compared with both
//! children. A tournament answers with one. The heads are the players, and each inner node remembers the
//! *loser* of the match that was played there. When the next item of its source replaces the overall winner,
//! only the matches on the way from its leaf to the root can turn out differently. The opponent
//! in each of them is the loser that is stored there.
//!
//! # A picture, K = 5
//!
//! Five sources with the heads 4, 2, 7, 3 and 9. The tree is padded to eight leaves; `-` is exhausted, and
//! loses to everything. Each inner node shows the head of the loser it stores, and its source.
//!
//! ```text
//!                        winner: 2 of s1
//!                              │
//!                            9 s4                 node 1
//!               ┌──────────────┴──────────────┐
//!             3 s3                           - s6             nodes 2, 3
//!        ┌──────┴──────┐               ┌──────┴──────┐
//!      4 s0          7 s2            - s5          - s7       nodes 4 to 7
//!     ┌──┴──┐       ┌──┴──┐         ┌──┴──┐       ┌──┴──┐
//!     4     2       7     3         9     -       -     -     leaves: the heads
//!    s0    s1      s2    s3        s4    s5      s6    s7
//! ```
//!
//! # A worked replay
//!
//! The winner, 2, is taken. The next item of source 1 is 5; it climbs from its leaf:
//!
//! ```text
//! at node 4:  5 against 4 of s0    4 wins and goes on, 5 of s1 stays as the loser
//! at node 2:  4 against 3 of s3    3 wins and goes on, 4 of s0 stays
//! at node 1:  3 against 9 of s4    3 wins, 9 of s4 stays
//! winner:     3 of s3
//! ```
//!
//! Three comparisons, ⌈log2 5⌉, and nothing else has moved.
//!
//! # Where it is
//!
//! | file | what |
//! |---|---|
//! | `bracket` | the textbook algorithm: who plays whom, whatever a match is |
//! | `referee` | how a match is decided, by codes or by heads |
//! | `streak` | a source that keeps winning: the runner-up, and what finding it may cost |
//! | `codes` | which codes the nodes hold, and when that changes |
//! | `line` | three sources, which need no tree |
//! | `loser_tree` | the tree, which has all of them |
//!
//! # What makes it quick
//!
//! - A node is a code and a rank: sixteen bytes that are compared and copied as numbers. Items stay in the
//!   leaves from when they come in until they are taken out.
//! - For exact codes, two integer comparisons and conditional moves decide a match. A processor could not predict which of the
//!   two wins. Where items must be compared, it is moves, too, and the challenger's item goes along with its node. A small one is
//!   never read from its leaf: a number is compared in a register.
//! - Where a source keeps winning, the *runner-up* is found: the best of the losers on the winner's way. A successor that comes
//!   before it wins at one comparison, and no node is touched. So it is in runs, with skew, for disjoint sources, and for the last
//!   source that is left. Where items must be compared, the comparisons that a runner-up saves pay for finding it.
//! - Strings of bytes are seldom in a near cache. The time goes into waiting for the next key. Its way begins as soon as
//!   the processor guesses who wins. So the only branch is whether the challenger beats the runner-up, whose code is known. If it
//!   does not, the runner-up has won, whomever the challenger beats on its way there. Two or three sources of strings are compared
//!   right away, each by code of its own; and so are four, if their first bytes tell too little.
//! - Strings begin with their first eight bytes as codes. Where these are often equal, the tree goes over to *offset-value codes*.
//!   The losers on the winner's path have codes against the winner, and so has its successor when it comes. Of two codes against
//!   one key the smaller code is that of the smaller item. If the two are equal, the bytes behind them decide, and the loser gets a
//!   code against the item it has lost to. In this picture the winner `aab` has been taken and its successor is `abd`. Each code is
//!   written as the first place that differs and the byte there:
//!
//!   ```text
//!   losers on the path, against aab:    abc  (1, b)      b  (0, b)      c  (0, c)
//!   successor, against aab:             abd  (1, b)
//!
//!   abd against abc   equal codes; from place 2 on, c < d: abc wins, abd stays with (2, d), against abc
//!   abc against b     place 1 against place 0: abc has more in common with aab, so it is smaller, and wins
//!   abc against c     likewise; b and c need no new codes, since these are also theirs against abc
//!   ```
//! - The key that was taken is gone when its successor comes. But the runner-up has a code against the same key, and that tells the
//!   successor's code. `abc` differs from `aab` at place 1, so `aab` begins with `a`, like `abc`. If the successor begins with `a`,
//!   its code is that of place 1; if not, that of place 0. The bytes behind are not read. A successor with the smaller code wins, and
//!   all codes stay.
//! - A head has no such code if it comes before the winner, or if another source's head has changed. It climbs by its bytes
//!   until it loses. A head that it beats gets a code against it. A head that beats it goes on with the code that it has.
//! - Exhaustion is a bit of the rank, above every source. It is a state, not a greatest value: an item whose
//!   code is `u64::MAX` still beats an exhausted source.
//!
//! # Sources
//!
//! D. E. Knuth, The Art of Computer Programming, vol. 3, section 5.4.1 (trees of losers; the picture there
//! is figure 63). G. Graefe, Implementing Sorting in Database Systems, ACM Computing Surveys 38(3), 2006,
//! section 3 (codes in the nodes, merging). G. Graefe and T. Do, Offset-value coding in database query processing, EDBT 2023
//! (codes against the winner). The layout, a complete tree in an array with the leaves implied,
//! is that of the Go package `pkg/losertree` of thanos-io/thanos and of `bboreham/go-loser`.

mod bracket;
#[cfg(test)]
mod check;
mod codes;
mod held;
mod line;
mod loser_tree;
mod node;
mod referee;
mod streak;

pub(crate) use held::Held;
pub use loser_tree::LoserTree;
