use std::panic;
use std::sync::Once;

/// Keeps the panics that scripts raise off standard error, for the rest of the process.
///
/// A test of many panics would otherwise bury the message of the one that fails it. Panics of anything else
/// are reported as before: they are told apart by where they are raised.
pub fn silence_scripted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_scripted = info.location().is_some_and(|location| {
                ["scripted.rs", "comparisons.rs"].iter().any(|file| location.file().ends_with(file))
            });
            if !is_scripted {
                report(info);
            }
        }));
    });
}
