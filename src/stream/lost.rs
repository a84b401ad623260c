//! What was lost: a merge that is dropped unclosed by something that was itself closed in order. An adaptor between the two has
//! not passed the close on.

use std::cell::Cell;

thread_local! {
    /// Whether the thread is dropping something that was closed in order.
    static DROPS_CLOSED: Cell<bool> = const { Cell::new(false) };
}

/// Drops something that was closed in order. What it should have closed and is dropped with it counts as lost.
pub(crate) fn drop_closed<T>(closed: T) {
    /// Sets it back, though the drop may panic.
    struct Dropping(bool);
    impl Drop for Dropping {
        fn drop(&mut self) {
            let _ = DROPS_CLOSED.try_with(|drops| drops.set(self.0));
        }
    }
    let before = DROPS_CLOSED.try_with(|drops| drops.replace(true)).unwrap_or_default();
    let _dropping = Dropping(before);
    drop(closed);
}

/// Whether what is being dropped was to be closed by something that was.
pub(super) fn is_lost() -> bool {
    DROPS_CLOSED.try_with(Cell::get).unwrap_or_default()
}
