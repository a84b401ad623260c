use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// P5, P13: runs code that is not ours, such as a drop or a waker; `None` if it panicked. A panic has been reported by the panic
/// hook when it arrives here; letting it through would skip what comes after, and abort where a panic is unwinding
/// already.
pub(crate) fn contain_panic<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(foreign)).map_err(discard).ok()
}

/// Drops what was thrown, which is not ours either: its drop may panic and throw something else. What is thrown then is
/// not dropped but forgotten, which costs its memory: it may go on like that.
#[cold]
fn discard(thrown: Box<dyn Any + Send>) {
    if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| drop(thrown))) {
        mem::forget(thrown);
    }
}
