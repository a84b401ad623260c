use std::fmt::{self, Debug};

use losertree::CloseError;
use losertree::error::Cause;

/// The error with which a scripted source fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TestError {
    /// The index of the source.
    pub source: usize,
    /// Where in its script.
    pub at: At,
}

/// A place in a [`Script`](crate::Script).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// This step, counted from 0.
    Step(usize),
    /// This step of closing, counted from 0.
    CloseStep(usize),
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {} fails as scripted, at {}", self.source, self.at)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => write!(f, "step {step}"),
            Self::CloseStep(step) => write!(f, "step {step} of closing"),
        }
    }
}

impl std::error::Error for TestError {}

/// Takes the one cause out of what a close has come to.
///
/// # Errors
///
/// The cause, if the close has failed.
///
/// # Panics
///
/// If it has failed with several errors.
#[track_caller]
pub fn one_cause<E: Debug>(closed: Result<(), CloseError<E>>) -> Result<(), Cause<E>> {
    let Err(closed) = closed else { return Ok(()) };
    let mut errors = closed.into_errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.pop().map_or(Ok(()), |error| Err(error.into_cause()))
}
