use losertree::{CloseError, SourceError};

/// The one error of a close.
///
/// # Panics
///
/// Panics if there are more.
#[must_use]
#[track_caller]
pub fn only_error<E>(error: CloseError<E>) -> SourceError<E> {
    let mut errors = error.into_errors();
    assert_eq!(errors.len(), 1, "errors of closing");
    errors.remove(0)
}
