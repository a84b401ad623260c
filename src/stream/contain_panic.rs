use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the drop of something that is not ours. A panic has been reported by the panic hook when it arrives
/// here; letting it through would skip the others, and abort where a panic is unwinding already.
pub(super) fn contain_panic(release: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(release)));
}
