/// Why a text is not a label set, and where.
///
/// Offsets are in bytes, from the beginning of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseLabelsError {
    /// Something else stands where a token was expected, or the text ends there.
    #[error("expected {expected} at byte {offset}")]
    Expected {
        /// Where it was expected.
        offset: usize,
        /// What was expected, in words.
        expected: &'static str,
    },
    /// A backslash does not begin one of the known escapes, or its digits are missing or name no character.
    #[error(r#"expected one of \a \b \f \n \r \t \v \\ \' \" \xNN \uNNNN \UNNNNNNNN at byte {offset}"#)]
    Escape {
        /// Where the backslash is.
        offset: usize,
    },
    /// The bytes of a quoted string, given by `\x` escapes, are not UTF-8.
    #[error("expected UTF-8 in the quoted string at byte {offset}")]
    NotUtf8 {
        /// Where the opening quote is.
        offset: usize,
    },
    /// A name has occurred before.
    #[error("expected a new label name at byte {offset}: {name:?} occurs twice")]
    DuplicateName {
        /// Where the later of the two begins.
        offset: usize,
        /// The name.
        name: String,
    },
}

impl ParseLabelsError {
    /// Returns where in the text the error is, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match self {
            Self::Expected { offset, .. }
            | Self::Escape { offset }
            | Self::NotUtf8 { offset }
            | Self::DuplicateName { offset, .. } => *offset,
        }
    }
}
