//! The async merge over scripted sources: plans, the model they are judged by, and how they are played.

mod model;
mod noisy;
mod plan;
mod play;
mod verdict;

use losertree::ProxyResponseLoserTree;
use losertree::stream::MergeError;
use losertree_testkit::{Checked, Item, ScriptedSource, TestError};

pub use plan::Plan;
pub use play::play;

/// The sources of a plan: scripted, some of them noisy, and checked.
type Child = Checked<noisy::Noisy<ScriptedSource<Item<u64>>>>;
type Merge<O> = ProxyResponseLoserTree<Child, O>;
type Error = MergeError<TestError>;
