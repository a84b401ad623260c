use std::sync::Arc;

/// A [`ReaderGate`](super::ReaderGate) lets nobody in any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is closed to new readers")]
#[non_exhaustive]
pub struct GateClosed {
    /// The name of the gate.
    pub name: Arc<str>,
}

/// A [`ReaderGate`](super::ReaderGate) was to be closed within a time, and has readers left.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} still has {} readers: {}", .readers.len(), ReadersList(.readers))]
#[non_exhaustive]
pub struct CloseTimeout {
    /// The name of the gate.
    pub name: Arc<str>,
    /// Who is still inside, in the order in which they came.
    pub readers: Vec<super::PendingReader>,
}

/// The readers, separated by semicolons.
#[cfg(feature = "tokio")]
struct ReadersList<'a>(&'a [super::PendingReader]);

#[cfg(feature = "tokio")]
impl std::fmt::Display for ReadersList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, reader) in self.0.iter().enumerate() {
            write!(f, "{}{reader}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
