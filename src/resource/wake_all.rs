use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes all of them, even if one panics. The panic has been reported by the panic hook when it arrives here;
/// letting it through would leave the others asleep, and abort where a panic is unwinding already.
pub(super) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
    }
}
