use std::panic::{self, AssertUnwindSafe};

/// What the message of every panic says that a target has asked for.
const SCRIPTED: &str = "panics as scripted";

/// Lets scripted panics unwind, silently. All others abort, as is the way of the fuzzer's own hook.
pub fn let_scripted_panics_unwind() {
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().is_some_and(|message| message.contains(SCRIPTED)) {
            abort(info);
        }
    }));
}

/// Panics in a way that may unwind.
///
/// # Panics
///
/// Always.
pub fn scripted_panic(what: &str) -> ! {
    panic!("{what} {SCRIPTED}")
}

/// Calls `f`, and returns `None` if it panics.
pub fn unless_it_panics<T>(f: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(f)).ok()
}
