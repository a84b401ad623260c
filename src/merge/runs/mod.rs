//! Merging of whole runs that are in memory.
//!
//! [`merge_runs`] appends the merge of sorted slices to a vector, and [`merge_runs_with`] does so in any order.
//! `par_merge_runs` and `par_merge_runs_with` (feature `rayon`) do it on several threads.
//!
//! A merge that sees whole runs can do better than to ask, item by item, which of K heads is the smallest.
//!
//! # The cascade
//!
//! Neighbouring runs are merged two by two, then the results, and so on: ⌈log2 K⌉ levels, to and fro between
//! two rooms for entries. A step of a merge of two costs what a match of the tournament does, but the matches
//! of a replay wait for each other, and steps of different merges do not. So each level is cut into *lanes*.
//! Four of these advance side by side, by conditional moves.
//!
//! ```text
//! s0 ──┐ lane
//!      ├────────┐ 2 lanes
//! s1 ──┘        ├─────────┐
//! s2 ──┐ lane   │         │ 4 lanes
//!      ├────────┘         ├───────── merged
//! s3 ──┘                  │
//! s4 ─────────────────────┘
//! ```
//!
//! Where a level has fewer merges than lanes, a merge is split. Think of it as a path: a step to the right
//! takes an item of the left run, a step down one of the right run. The first m items end on the diagonal of
//! the points that are m steps away, and a bisection along it finds where.
//!
//! ```text
//!         1   3   5   7     left
//!       ●━━━┓   ·   ·   ╱
//!     2 ·   ┗━━━┓   ╱   ·
//!     4 ·   ·   ╳   ·   ·   1 3 · 2 4 come first, 5 7 · 4 6 then
//!     4 ·   ╱   ┗━━━┓   ·
//!     6 ╱   ·   ·   ┗━━━●
//! right
//! ```
//!
//! A run that is much longer than its neighbours waits until these have been merged to something of its
//! length, unless more steps would be taken then.
//!
//! # Places
//!
//! The more runs there are, the more levels. Where codes are spread evenly, as those of random or consecutive numbers are, no level is
//! needed: a code tells nearly where its entry belongs. The range of the codes of a portion is cut into parts, up to four for each
//! entry. The entries are counted by part, put where their part begins, and those of one part are put in order:
//!
//! ```text
//! s0   3  18  21        parts of 8:   3 6 │ 10 12 │ 18 21 │ 25
//! s1   6  12  25
//! s2  10
//! ```
//!
//! That takes the same time whatever the number of runs is. It is tried from 17 runs on, or nine if they are short, and given up for
//! some portions where more than three entries come before an entry in its part, on average. What it has counted then was in vain.
//!
//! # Stretches
//!
//! Where a run wins many times in a row a tournament does better: it knows the runner-up, so the end of the
//! stretch is found by doubling and bisection, and all of it is copied, once. So that is tried first, and
//! given up for the cascade when thirty-two stretches, or fewer where there are few items, were short: shorter
//! on average than 13 items and another 40 by the number of levels that they spare. Four suffice where they
//! are not even half as long. It is tried again after some portions.
//!
//! Where the smallest head has many equals, all of them are taken from one run after the other before that, without a
//! tournament, until there are fewer than twenty for each run by the number of levels that they spare.
//!
//! # Portions
//!
//! A level reads and writes all there is, which should be in a cache. So the merge is cut into portions: of at most 64 KiB, of
//! 128 KiB where entries have offset-value codes, and of 32 entries for each run where that is more. Each goes through the whole cascade. Every s-th item of each run is a sample; a
//! tournament finds the K smallest samples, and the last of them is where the portion ends:
//!
//! ```text
//! s0  1 4 │ 8 9 12 20 …      every third item is a sample: 8 and 20 in s0
//! s1  2 3 3 5 5 7 │ 10 …     the three smallest are 3 of s1, 7 of s1 and 7 of s2
//! s2  6 7 7 │ 8 …            so the portion is what comes up to that 7 of s2
//! ```
//!
//! Between K·s and 2K·s items come up to there: the samples passed, each with the s − 1 items before it, and
//! less than s more in each run.
//!
//! # What is moved
//!
//! The choice is made by the types. Items of up to 32 bytes that need no drop are moved themselves, if their
//! codes are exact or if there is only a comparator. All others stay where they are: a code and a reference
//! go through the cascade, and each item is cloned once, when its place is known.
//!
//! Codes of strings of bytes tell little where all begin alike. So those of a portion begin behind what all of its items share. Where they
//! still tie, a few items are asked how many share a code. If these are many, they are merged by themselves, what is before and
//! behind them too, and their codes begin behind more:
//!
//! ```text
//! s0   up·a1   up·a7 │ zone·b2   zone·b5         nothing is shared, and the first bytes tell little:
//! s1   up·a4   up·a9 │ zone·b1   zone·b6         in each part `up·a` and `zone·b` are left out
//! ```
//!
//! # Offset-value codes
//!
//! Where that does not help, since few items share a code each, they would be compared by their bytes at each level, and what is
//! compared is not in one place. So each item of a portion gets its [code](crate::key::OffsetCode) against the
//! one before it in its run, which reads what they have in common once and in order. The heads of both sides of
//! a merge have codes against what was put out last, and comparing these decides most matches. The winner
//! comes out with the code that it has there, and goes into the next level with that:
//!
//! ```text
//! left    car   carbon  cat             right   cart  cats
//!         0·c   3·b     2·t                     0·c   2·t     how many bytes are shared, and the next one
//!
//! merged  car   carbon  cart  cat  cats
//!         0·c   3·b     3·t   2·t  3·s     bytes were read twice: of car and cart, of cat and cats
//! ```
//!
//! Where a merge is split, the first item of the second lane that has not met the last one of the first gets its
//! code against that. For up to eight runs bytes are compared.
//!
//! # In parallel
//!
//! A merge is split at a rank: into the merge of what comes first in each run, and that of the rest. Both are
//! merges as any other, and the places of their outputs are known. The parts are found by samples that get closer
//! and closer, with ties decided by run, so the result for sorted runs is that of one thread. Rayon says how
//! many parts are needed.
//!
//! ```text
//! s0  1 4 │ 8 9 12 20        the first eight:  1 4 · 2 3 3 5 · 6 7     on one thread
//! s1  2 3 3 5 │ 8 10         the others:       8 9 12 20 · 8 10 · 11   on another
//! s2  6 7 │ 11
//! ```
//!
//! # Ordering
//!
//! Each run must be sorted by the order of the merge. Equal items come in the order of their runs, and within
//! a run as they are there: what a stable sort of the concatenated runs gives. If a run is not sorted the
//! order of the output is unspecified, but each run comes out once and in its own order.
//!
//! # Complexity
//!
//! With exact codes no items are compared. Otherwise there are at most K + N·(⌈log2 K⌉ + 1) comparisons, and
//! far fewer where there are long stretches. There are two rooms for entries, each as large as a portion may
//! be, and of no more than N entries, two more where only some portions have offset-value codes, and for entries that are put in their places up to four numbers of 32 bits each; beside it `O(K)`, and the
//! output.
//!
//! # Panics
//!
//! Only where the order or the clone of an item panics. The items that were appended to `out` by then are the
//! first of the merge; the parallel versions leave `out` as it was.
//!
//! # Sources
//!
//! Galloping is that of T. Peters, `Objects/listsort.txt` of `CPython`. The bisection that splits a merge of
//! two is that of S. Odeh, O. Green, Z. Mwassi, O. Shmueli and Y. Birk, Merge Path: Parallel Merging Made
//! Simple, IPDPS workshops 2012, and of N. Deo and D. Sarkar, Parallel algorithms for merging and
//! sorting, Information Sciences 56, 1991. The split of K runs at a rank is multisequence selection: P. J.
//! Varman, S. D. Scheufler, B. R. Iyer and G. R. Ricard, Merging multiple lists on hierarchical-memory
//! multiprocessors, Journal of Parallel and Distributed Computing 12, 1991. Cutting by samples is regular
//! sampling: H. Shi and J. Schaeffer, Parallel sorting by regular sampling, in the same journal, 14, 1992.

mod by_reference;
mod cascade;
mod entry;
mod merge_runs;
#[cfg(feature = "rayon")]
mod par;
mod scatter;
mod split;
mod stretches;

pub(super) use cascade::Rooms;
pub(super) use merge_runs::{is_moved, merge_slices, merge_slices_in};
pub use merge_runs::{merge_runs, merge_runs_with};
#[cfg(feature = "rayon")]
pub use par::{par_merge_runs, par_merge_runs_with};
