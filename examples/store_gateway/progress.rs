use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::gateway::Gateway;

/// Shows on a terminal how far the run is.
#[derive(Debug)]
pub(crate) struct Progress {
    is_hidden: bool,
}

impl Progress {
    pub(crate) const fn new(is_hidden: bool) -> Self {
        Self { is_hidden }
    }

    /// Starts a bar.
    pub(crate) fn bar(&self, what: &'static str, length: u64) -> ProgressBar {
        let target = if self.is_hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length), target).with_prefix(what);
        let template = "{prefix} {wide_bar} {pos}/{len}  {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar
    }
}

/// Keeps the figures beside a bar up to date, for ever.
pub(crate) async fn show_figures(gateway: &Gateway, bar: &ProgressBar) {
    loop {
        let pool = gateway.pool.snapshot();
        bar.set_message(format!(
            "pool {} of {}, {} readers, {} blocks waiting",
            HumanBytes(pool.used_bytes as u64),
            HumanBytes(pool.budget_bytes as u64),
            gateway.pending(),
            gateway.replaced().len()
        ));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
