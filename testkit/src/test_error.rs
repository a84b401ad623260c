use std::fmt;

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
