//! What the tests, benchmarks and fuzz targets of `losertree` have in common.
//!
//! | for | there is |
//! |---|---|
//! | input | [`Runs`] (quickcheck, with shrinking), [`TestKey`], [`Random`]; [`inputs`] for benchmarks |
//! | the expected output | [`merged`], [`assert_merged`]: the one oracle; [`Item`]s with an identity; [`deduplicated`] |
//! | sources | [`Script`], [`ScriptedSource`], the [`Bell`] that wakes them; [`Stage`] puts them together |
//! | what a merge does to them | [`Checked`], [`Log`]: each call against the table at [`losertree::Source`] |
//! | polling | [`Driver`], [`poll_times`], [`CountingWaker`]; [`silence_scripted_panics`] |
//! | counting comparisons | [`Comparisons`], [`CountedKey`]; [`panic_at`] |
//! | response sets | [`random_store`], [`SetRules`]: what sets are told, and the oracle of their [`Answer`]s; [`QueryAnswer`] |
//! | how costs grow | [`assert_no_square`] |
//! | background tasks | [`Tasks`]: polled between the polls of a test, in random order |
//! | a pool of bytes | [`PoolTrial`], which takes [`PoolStep`]s beside a model |
//!
//! Every scripted source in a test is checked. What a test asserts by this crate panics by design.
//!
//! # Examples
//!
//! A merge driven to its end is to look like this (here with a mere concatenation):
//!
//! ```
//! use futures::stream::{self, StreamExt};
//! use losertree_testkit::{Random, Runs, Stage, assert_merged};
//! use std::pin::Pin;
//!
//! let runs = Runs::from_keys(vec![vec![1_u64, 1, 2], vec![], vec![2, 5]]);
//! let stage = Stage::new();
//! let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(1), 0.5);
//!
//! # use losertree::Source;
//! # let mut merge = stream::iter(sources).flat_map(|mut source| {
//! #     let mut ended = false;
//! #     stream::poll_fn(move |cx| {
//! #         if !ended {
//! #             let next = std::task::ready!(Pin::new(&mut source).poll_next(cx));
//! #             if next.is_some() { return std::task::Poll::Ready(next); }
//! #             ended = true;
//! #         }
//! #         Pin::new(&mut source).poll_close(cx).map(|_| None)
//! #     })
//! # });
//! let merged = stage.driver(7).run(&mut merge).ok();
//! drop(merge);
//! assert_merged(&merged, runs.as_slice());
//! stage.log().assert_closed();
//! ```
//!
//! # Counting allocations
//!
//! Counting takes a global allocator, and implementing one takes `unsafe`. So it is left to the crate
//! `allocation-counter`, which counts per thread, and which is not linked from here: it would put its
//! allocator into every benchmark too. It is in effect in just those test binaries that name it:
//!
//! ```
//! let counted = allocation_counter::measure(|| {
//!     // What is to allocate nothing.
//! });
//! assert_eq!(counted.count_total, 0);
//! ```
//!
//! A [`Checked`] source allocates with every poll; give a merge whose allocations are counted bare ones.

mod answer;
mod bell;
mod checked;
mod comparisons;
mod counted_key;
mod counting_waker;
mod deduplicated;
mod driver;
mod event;
mod figures;
mod growth;
pub mod inputs;
mod item;
mod log;
mod oracle;
mod poll_times;
mod pool_model;
mod pool_step;
mod pool_trial;
mod query_answer;
mod random;
mod random_store;
mod record;
mod reserved;
mod run;
mod runs;
mod runs_held;
mod script;
mod scripted;
mod set_rules;
mod silence;
mod stage;
mod tasks;
mod test_error;
mod test_key;
mod violation;
mod wake;

pub use answer::Answer;
pub use bell::Bell;
pub use checked::Checked;
pub use comparisons::{Comparisons, panic_at};
pub use counted_key::CountedKey;
pub use counting_waker::CountingWaker;
pub use deduplicated::deduplicated;
pub use driver::Driver;
pub use event::{Event, Outcome};
pub use figures::{Closing, Ending, Figures};
pub use growth::assert_no_square;
pub use item::Item;
pub use log::Log;
pub use oracle::{assert_merged, assert_merged_by, assert_same, merged, merged_by};
pub use poll_times::poll_times;
pub use pool_step::PoolStep;
pub use pool_trial::PoolTrial;
pub use query_answer::QueryAnswer;
pub use random::Random;
pub use random_store::random_store;
pub use run::{End, Run};
pub use runs::Runs;
pub use script::{CloseStep, Script, Step};
pub use scripted::ScriptedSource;
pub use set_rules::SetRules;
pub use silence::silence_scripted_panics;
pub use stage::Stage;
pub use tasks::Tasks;
pub use test_error::{At, TestError, one_cause};
pub use test_key::{Domain, TestKey};
pub use violation::{Misuse, Violation};
pub use wake::Wake;
