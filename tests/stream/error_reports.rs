//! What is printed of an error names the source, when it failed and why, each once.

use std::error::Error;
use std::io;

use losertree::error::{Cause, CloseError, SourceError};
use losertree::resource::{BytePool, PoolError};
use losertree::{Warning, try_merge};

/// An error with causes of its own.
#[derive(Debug, thiserror::Error)]
#[error("block 7 is unreadable")]
struct Unreadable(#[from] io::Error);

fn unreadable() -> SourceError<Unreadable> {
    let failed = Err(Unreadable(io::Error::other("disk on fire")));
    try_merge([vec![Ok(1), failed]]).nth(1).unwrap().unwrap_err()
}

/// As error-reporting crates print it, and as these are written by hand.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

const CHAIN: &str = "source 0 failed while merging: block 7 is unreadable: disk on fire";

#[test]
fn the_cause_is_in_what_is_printed() {
    let error = unreadable();
    assert_eq!(error.to_string(), "source 0 failed while merging");
    assert_eq!(format!("{error:#}"), "source 0 failed while merging: block 7 is unreadable");
    assert_eq!(error.report(), CHAIN);
    assert_eq!(chain(&error), CHAIN);
    // What `unwrap` and a `main` that returns it print.
    let debug = format!("{error:?}");
    assert!(debug.contains("disk on fire") && debug.contains("Merging"), "{debug}");
}

/// Errors that are no `Error`s print themselves too.
#[test]
fn any_error_that_can_be_printed_is() {
    let error: SourceError<&str> = "gone".into();
    assert_eq!(format!("{error:#}"), format!("{error}: gone"));
    let error: SourceError<Box<dyn Error + Send + Sync>> = SourceError::new(Cause::Source("gone".into()));
    assert_eq!(format!("{error:#}"), format!("{error}: gone"));
}

/// Causes that are not the source's own say theirs once, however it is printed.
#[test]
fn no_cause_is_printed_twice() {
    let pool = BytePool::builder().budget_bytes(1 << 20).build().unwrap();
    let refused: PoolError = pool.try_lease(2 << 20).unwrap_err();
    let causes = [
        Cause::OutOfOrder { position: 3 },
        Cause::Incomplete("a shard is missing".into()),
        Cause::TooLarge { limit_bytes: 7 },
        Cause::Pool(refused),
        Cause::FrameTooLarge { frame_bytes: 2, limit_bytes: 1 },
        Cause::Panicked,
        Cause::Abandoned,
        Cause::NoTimer,
    ];
    for cause in causes {
        let error: SourceError<io::Error> = SourceError::new(cause);
        let report = error.report();
        assert_eq!(report, chain(&error));
        assert_eq!(report, format!("{error:#}"));
        let parts: Vec<_> = report.split(": ").collect();
        assert!(parts.len() >= 2, "{report}");
        assert!(
            parts.iter().all(|part| parts.iter().filter(|other| *other == part).count() == 1),
            "{report}"
        );
        if matches!(error.cause(), Cause::Pool(_)) {
            assert!(report.ends_with(&refused.to_string()), "{report}");
        }
    }
}

#[test]
fn errors_of_closing_print_all_with_their_causes() {
    let errors = CloseError::check(vec![unreadable(), unreadable()]).unwrap_err();
    assert_eq!(errors.to_string(), format!("{CHAIN}; {CHAIN}"));
    assert_eq!(chain(&errors), errors.to_string());
}

#[test]
fn warnings_have_the_causes() {
    let warning = Warning::from(unreadable());
    assert!(warning.to_string().ends_with("block 7 is unreadable: disk on fire"), "{warning}");
}
