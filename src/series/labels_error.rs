/// Why something is not a label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// Two labels have one name.
    #[error("label name {name:?} occurs twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Packed bytes end within a label.
    #[error("packed labels end within the label that begins at byte {offset}")]
    Truncated {
        /// Where the label begins.
        offset: usize,
    },
    /// A name or value in packed bytes is not UTF-8.
    #[error("packed labels have a string that is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Where the name or value begins.
        offset: usize,
    },
    /// A name in packed bytes is smaller than the one before it.
    #[error("packed labels have a name out of order at byte {offset}")]
    Unsorted {
        /// Where the name begins.
        offset: usize,
    },
}
