use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_physical_optimizer::PhysicalOptimizerRule;
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use losertree::LeakLedger;

use crate::{LoserTreeMergeExec, LoserTreeOptions, LoserTreeSortExec};

/// Has each [`SortPreservingMergeExec`] of a plan be a [`LoserTreeMergeExec`], unless a type of its columns has no order, or
/// [`LoserTreeOptions::enabled`] is off. Has each `SortExec` without a limit be a [`LoserTreeSortExec`] likewise, unless [`LoserTreeOptions::sort`] is
/// off.
///
/// A [`SortPreservingMergeExec`] does not tell whether its ties are to take turns, which is its default. So the rule replaces it in either case, and
/// [`LoserTreeOptions::round_robin_ties`] says what becomes of ties.
///
/// It is idempotent. It can be the last of all rules: the nodes have the same requirements and properties.
#[derive(Debug, Clone, Default)]
pub struct MergeByWindows {
    ledger: Option<LeakLedger>,
}

impl MergeByWindows {
    /// Creates the rule.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the merges book their inputs in a ledger. Default: in none.
    #[must_use]
    pub fn with_ledger(self, ledger: LeakLedger) -> Self {
        Self { ledger: Some(ledger) }
    }
}

impl PhysicalOptimizerRule for MergeByWindows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let defaults = LoserTreeOptions::default();
        let options = config.extensions.get::<LoserTreeOptions>().unwrap_or(&defaults);
        if !options.enabled {
            return Ok(plan);
        }
        let replace = |plan: Arc<dyn ExecutionPlan>| match plan.downcast_ref::<SortPreservingMergeExec>() {
            Some(merge) if LoserTreeMergeExec::is_supported(merge) => {
                let mut merge =
                    LoserTreeMergeExec::from(merge).with_round_robin_ties(options.round_robin_ties);
                if let Some(ledger) = &self.ledger {
                    merge = merge.with_ledger(ledger.clone());
                }
                Ok(Transformed::yes(Arc::new(merge) as Arc<dyn ExecutionPlan>))
            }
            None if options.sort && plan.name() == "SortExec" => {
                let sort = plan.downcast_ref().and_then(LoserTreeSortExec::try_from_sort);
                Ok(sort.map_or(Transformed::no(plan), |sort| Transformed::yes(Arc::new(sort))))
            }
            _ => Ok(Transformed::no(plan)),
        };
        plan.transform_up(replace).data()
    }

    fn name(&self) -> &'static str {
        "merge_by_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
