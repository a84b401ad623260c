use super::figures::SourceFigures;
use super::spans::SourceSpan;
use crate::contain_panic::contain_panic;
use crate::error::Phase;
use crate::resource::{Ending, LedgerEntry};
use crate::stream::SourceEnd;

/// Keeps the books of one source, and tells what becomes of it. Dropping it books the source as dropped
/// unclosed, like the entry of the ledger that is in it.
pub(in crate::stream) struct SourceWatch {
    /// `None` once the source has been released.
    entry: Option<LedgerEntry>,
    span: SourceSpan,
    figures: SourceFigures,
}

impl SourceWatch {
    pub(super) const fn new(entry: LedgerEntry, span: SourceSpan, figures: SourceFigures) -> Self {
        Self { entry: Some(entry), span, figures }
    }

    /// Notes for the report of the ledger what the source does from now on.
    pub(in crate::stream) fn note_use(&self, doing: &'static str, number: Option<u64>) {
        if let Some(entry) = &self.entry {
            entry.note(doing, number);
        }
    }

    /// Tells that the source has come to its end, or in which phase it has failed.
    pub(in crate::stream) fn note_end(&self, end: SourceEnd, phase: Phase) {
        self.span.note_end(end, phase);
    }

    /// Books that the source has been released.
    pub(in crate::stream) fn release(mut self, ending: Ending, end: Option<SourceEnd>) {
        self.book(ending, end);
    }

    fn book(&mut self, ending: Ending, end: Option<SourceEnd>) {
        if let Some(entry) = self.entry.take() {
            entry.end(ending);
            self.figures.released(ending, end);
            self.span.released(ending, end);
        }
    }
}

impl Drop for SourceWatch {
    fn drop(&mut self) {
        // The drop of the source may be unwinding.
        contain_panic(|| self.book(Ending::DroppedUnclosed, None));
    }
}
