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
///
/// Printing it names the oldest 16 of them.
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

/// The oldest readers, separated by semicolons, and how many there are besides.
#[cfg(feature = "tokio")]
struct ReadersList<'a>(&'a [super::PendingReader]);

#[cfg(feature = "tokio")]
impl ReadersList<'_> {
    const SHOWN: usize = 16;
}

#[cfg(feature = "tokio")]
impl std::fmt::Display for ReadersList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, reader) in self.0.iter().take(Self::SHOWN).enumerate() {
            write!(f, "{}{reader}", if index == 0 { "" } else { "; " })?;
        }
        match self.0.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
