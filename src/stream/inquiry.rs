//! P14: what a stage asks of the stream that it takes from, through whatever adaptors stand in between.
//!
//! A stage that holds an item back must know whether the merge before it has only closing left, and a source made of a stream
//! must have a merge inside of it closed. Neither knows the type of the stream: it is any stream, and a merge may be several
//! adaptors down. The only method of a stream that adaptors pass on and that changes nothing is [`Stream::size_hint`]. So the
//! question is put beside it, where the thread keeps it for as long as the call lasts, and merges answer it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};

use futures::Stream;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Whether only closing is left.
    IsClosing,
    /// Whether you would end, as if a limit had been reached.
    Finish,
    /// Whether you would close now.
    Close,
}

/// What a merge has been asked for: a flag, since whoever asks has only a shared reference.
#[derive(Debug, Default)]
pub(super) struct Asked(AtomicU8);

impl Asked {
    const FINISH: u8 = 1;
    const CLOSE: u8 = 2;

    /// Whether it is to end as if a limit had been reached, which yields what goes wrong in closing as the merge does.
    pub(super) fn is_to_finish(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::FINISH
    }

    /// Whether it is to close, and to yield all that goes wrong.
    pub(super) fn is_to_close(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::CLOSE
    }
}

thread_local! {
    /// What is being asked, and whether somebody has answered.
    static ASKED: Cell<Option<(Question, bool)>> = const { Cell::new(None) };
}

/// Puts a question, and returns the hint, and whether a merge has answered.
fn ask<St: Stream>(question: Question, stream: &St) -> ((usize, Option<usize>), bool) {
    /// Takes the question back, though the stream may panic.
    struct Asking(Option<(Question, bool)>);
    impl Drop for Asking {
        fn drop(&mut self) {
            let _ = ASKED.try_with(|asked| asked.set(self.0));
        }
    }
    let before = ASKED.try_with(|asked| asked.replace(Some((question, false))));
    let Ok(before) = before else { return ((0, None), false) };
    let _asking = Asking(before);
    let hint = stream.size_hint();
    let has_answered = ASKED.try_with(Cell::get).is_ok_and(|asked| asked == Some((question, true)));
    (hint, has_answered)
}

/// Returns whether a stream has nothing more to give but what goes wrong in closing, because it is a merge of this library, or
/// a chain of adaptors over one, that is only closing its sources.
///
/// A stage of your own that holds an item back behind a merge should give it when this is so: the sources may take long to
/// close, or wait for just this item to be dropped. Those of this library do.
///
/// `false` of streams that do not know. Adaptors are seen through if they pass on [`Stream::size_hint`], as those of `futures`
/// do, and boxed streams.
///
/// # Examples
///
/// ```
/// use futures::stream::{self, StreamExt};
/// use losertree::{ProxyResponseLoserTree, closing};
/// use losertree::stream::is_closing;
/// use std::future::pending;
///
/// # futures::executor::block_on(async {
/// let source = closing(stream::iter([Ok::<_, std::io::Error>(1)]), |_| pending());
/// let mut merge = ProxyResponseLoserTree::new([source]).boxed();
/// assert!(!is_closing(&merge));
/// merge.next().await; // the last item: from here on, the source is only being closed
/// assert!(futures::poll!(merge.next()).is_pending());
/// assert!(is_closing(&merge));
/// # });
/// ```
#[must_use]
pub fn is_closing<St: Stream>(stream: &St) -> bool {
    let (hint, has_answered) = ask(Question::IsClosing, stream);
    has_answered && hint.1 == Some(0)
}

/// Asks all merges inside of a stream to close, instead of giving more, when they are polled next. Returns whether there are
/// any.
pub(super) fn ask_to_close<St: Stream>(stream: &St) -> bool {
    ask(Question::Close, stream).1
}

/// Asks all merges inside of a stream to end as if a limit had been reached, when they are polled next. Returns whether there are
/// any.
pub(crate) fn ask_to_finish<St: Stream>(stream: &St) -> bool {
    ask(Question::Finish, stream).1
}

/// The size hint of a merge, which answers what is asked; `notice` is called if there is something to be done.
pub(super) fn answer(is_closing: bool, asked: &Asked, notice: impl FnOnce()) -> (usize, Option<usize>) {
    let question = ASKED.try_with(Cell::get).ok().flatten().map(|(question, _)| question);
    let answers = |question| {
        let _ = ASKED.try_with(|asked| asked.set(Some((question, true))));
    };
    match question {
        Some(Question::IsClosing) if is_closing => {
            answers(Question::IsClosing);
            (0, Some(0))
        }
        Some(question @ (Question::Finish | Question::Close)) => {
            answers(question);
            asked.0.fetch_max(
                if question == Question::Close { Asked::CLOSE } else { Asked::FINISH },
                Ordering::Relaxed,
            );
            notice();
            (0, None)
        }
        _ => (0, None),
    }
}
