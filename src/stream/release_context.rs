//! How what is released right now is to be recorded. A thread keeps it for as long as that lasts, so that merges of all levels
//! record the same.
//!
//! - *In the background*: what is polled is closed by somebody else than its user, who has gone away.
//! - *Lost*: a merge is dropped unclosed by something that was itself closed in order. An adaptor between the two has not passed
//!   the close on.

use std::cell::Cell;
use std::thread::LocalKey;

thread_local! {
    static IS_IN_BACKGROUND: Cell<bool> = const { Cell::new(false) };

    /// Whether the thread is dropping something that was closed in order.
    static DROPS_CLOSED: Cell<bool> = const { Cell::new(false) };
}

/// Sets a mark while something runs, which may panic.
fn marked<T>(mark: &'static LocalKey<Cell<bool>>, run: impl FnOnce() -> T) -> T {
    struct Marked(&'static LocalKey<Cell<bool>>, bool);
    impl Drop for Marked {
        fn drop(&mut self) {
            let _ = self.0.try_with(|mark| mark.set(self.1));
        }
    }
    let before = mark.try_with(|mark| mark.replace(true)).unwrap_or_default();
    let _marked = Marked(mark, before);
    run()
}

/// Polls something in the background.
pub(super) fn in_background<T>(poll: impl FnOnce() -> T) -> T {
    marked(&IS_IN_BACKGROUND, poll)
}

pub(super) fn is_in_background() -> bool {
    IS_IN_BACKGROUND.try_with(Cell::get).unwrap_or_default()
}

/// Drops something that was closed in order. What it should have closed and is dropped with it counts as lost.
pub(crate) fn drop_closed<T>(closed: T) {
    marked(&DROPS_CLOSED, || drop(closed));
}

/// Whether what is being dropped was to be closed by something that was.
pub(super) fn is_lost() -> bool {
    DROPS_CLOSED.try_with(Cell::get).unwrap_or_default()
}
