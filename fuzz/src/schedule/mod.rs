//! The async merge over scripted sources: plans, the model they are judged by, and how they are played.

mod child;
mod model;
mod noisy;
mod plan;
mod play;
mod verdict;

use losertree::ProxyResponseLoserTree;
use losertree::SourceError;
use losertree_testkit::{Checked, TestError};

pub(crate) use child::in_blocks;
pub(crate) use noisy::Noisy;
pub use plan::Plan;
pub(crate) use plan::{CheckPlan, EndPlan, OrderPlan, SourcePlan, Then, WithOrder};
pub use play::play;

/// The sources of a plan: scripted, some of them of blocks, some of them noisy, and checked.
type Source = Checked<noisy::Noisy<child::Child>>;
type Merge<O> = ProxyResponseLoserTree<Source, O>;
type Error = SourceError<TestError>;
