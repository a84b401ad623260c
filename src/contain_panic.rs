use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that is not ours, such as a drop or a waker; `None` if it panicked. A panic has been reported by the panic
/// hook when it arrives here; letting it through would skip what comes after, and abort where a panic is unwinding
/// already.
pub(crate) fn contain_panic<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(foreign)).ok()
}
