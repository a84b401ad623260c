use std::task::Waker;

use crate::contain_panic::contain_panic;

/// Wakes all of them, even if one panics: the others must not stay asleep.
pub(super) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        contain_panic(|| waker.wake());
    }
}
