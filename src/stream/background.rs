//! Whether what is being polled is closed in the background, by somebody else than its user, who has gone away. It is kept with the
//! thread for as long as the poll lasts, so that merges of all levels book what they close as just that.

use std::cell::Cell;

thread_local! {
    static IS_IN_BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// Polls something in the background.
pub(super) fn in_background<T>(poll: impl FnOnce() -> T) -> T {
    /// Sets it back, though the poll may panic.
    struct Polling(bool);
    impl Drop for Polling {
        fn drop(&mut self) {
            let _ = IS_IN_BACKGROUND.try_with(|is| is.set(self.0));
        }
    }
    let before = IS_IN_BACKGROUND.try_with(|is| is.replace(true)).unwrap_or_default();
    let _polling = Polling(before);
    poll()
}

pub(super) fn is_in_background() -> bool {
    IS_IN_BACKGROUND.try_with(Cell::get).unwrap_or_default()
}
