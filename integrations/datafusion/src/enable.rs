use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;

use crate::{LoserTreeOptions, MergeByWindows};

/// Has a session merge its ordered queries and the runs of its sorts by windows: adds the rule [`MergeByWindows`], behind all others, and the
/// [options](LoserTreeOptions). A session that has them stays as it is.
///
/// Call it after the configuration and the rules of the session have been set.
///
/// # Examples
///
/// ```
/// use datafusion::execution::SessionStateBuilder;
/// use datafusion::prelude::SessionContext;
///
/// let state = SessionStateBuilder::new().with_default_features();
/// let context = SessionContext::new_with_state(losertree_datafusion::enable(state).build());
/// # let _ = context;
/// ```
#[must_use]
pub fn enable(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let config = builder.config().get_or_insert_default();
    if config.options().extensions.get::<LoserTreeOptions>().is_none() {
        config.options_mut().extensions.insert(LoserTreeOptions::default());
    }
    let rule = MergeByWindows::new();
    let is_there = |rules: &[Arc<
        dyn datafusion::physical_optimizer::PhysicalOptimizerRule + Send + Sync,
    >]| { rules.iter().any(|other| other.name() == "merge_by_windows") };
    let of_session = builder.physical_optimizers().as_ref().is_some_and(|all| is_there(&all.rules));
    let added = builder.physical_optimizer_rules().as_ref().is_some_and(|rules| is_there(rules));
    if of_session || added { builder } else { builder.with_physical_optimizer_rule(Arc::new(rule)) }
}
