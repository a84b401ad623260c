use std::fmt;

use super::MergeError;

/// What went wrong in closing a merge: all of it.
///
/// Besides the errors of closing, this has any error that the merge had met but not yet yielded. Each says
/// in which [`Phase`](crate::Phase) it was raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseError<E> {
    errors: Vec<MergeError<E>>,
}

impl<E> CloseError<E> {
    /// `Err` of the errors, if there are any.
    pub(crate) fn check(errors: Vec<MergeError<E>>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self { errors }) }
    }

    /// Returns the errors, at least one, in the order in which they were met.
    #[must_use]
    pub fn errors(&self) -> &[MergeError<E>] {
        &self.errors
    }

    /// Returns the errors, at least one, in the order in which they were met.
    #[must_use]
    pub fn into_errors(self) -> Vec<MergeError<E>> {
        self.errors
    }
}

/// The errors with their causes, separated by semicolons.
impl<E: std::error::Error + 'static> fmt::Display for CloseError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "; " }, error.report())?;
        }
        Ok(())
    }
}

/// All causes are in the message, so there is no [`source`](std::error::Error::source).
impl<E: std::error::Error + 'static> std::error::Error for CloseError<E> {}
