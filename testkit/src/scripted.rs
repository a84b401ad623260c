use losertree::stream::{PollClose, PollNext};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use losertree::Source;

use crate::{At, Bell, CloseStep, Script, Step, TestError, Wake};

/// A source that does what its [`Script`] says.
///
/// Best made by [`Stage::source`](crate::Stage::source), which puts it inside a
/// [`Checked`](crate::Checked). It is neither fused nor patient: polled after an error it goes on with its
/// script, and polled after its close began it still gives items. So what the checker would report is also
/// seen in the output.
///
/// # Panics
///
/// Where the script says so. When dropped it panics only if the thread is not panicking already, which
/// would abort the process.
#[derive(Debug)]
pub struct ScriptedSource<T> {
    index: usize,
    name: Option<String>,
    bell: Bell,
    steps: Progress<Step<T>>,
    close: Progress<CloseStep>,
    drop_panics: bool,
}

#[derive(Debug)]
struct Progress<S> {
    steps: VecDeque<S>,
    /// How many steps are done.
    done: usize,
    pause: Pause,
}

/// How far the pending step at the front is.
#[derive(Debug, Default)]
struct Pause {
    woken: bool,
    ticket: Option<u64>,
}

impl<S> Progress<S> {
    fn new(steps: Vec<S>) -> Self {
        Self { steps: steps.into(), done: 0, pause: Pause::default() }
    }

    /// Takes the next step, and says where in the script it is; waits if it is a pending one.
    fn poll(
        &mut self,
        source: usize,
        bell: &Bell,
        cx: &Context<'_>,
        pending: impl Fn(&S) -> Option<Wake>,
    ) -> Poll<Option<(usize, S)>> {
        while let Some(wake) = self.steps.front().and_then(&pending) {
            if wake == Wake::AtOnce {
                if !std::mem::replace(&mut self.pause.woken, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            } else if bell.wait(&mut self.pause.ticket, wake, source, cx).is_pending() {
                return Poll::Pending;
            }
            self.pause = Pause::default();
            self.steps.pop_front();
            self.done += 1;
        }
        let at = self.done;
        self.done += usize::from(!self.steps.is_empty());
        Poll::Ready(self.steps.pop_front().map(|step| (at, step)))
    }
}

impl<T> ScriptedSource<T> {
    /// Creates the source at `index` of the merge.
    #[must_use]
    pub fn new(index: usize, script: Script<T>, bell: &Bell) -> Self {
        Self {
            index,
            name: script.name,
            bell: bell.clone(),
            steps: Progress::new(script.steps),
            close: Progress::new(script.close),
            drop_panics: script.drop_panics,
        }
    }
}

// Items are never pinned.
impl<T> Unpin for ScriptedSource<T> {}

impl<T> Source for ScriptedSource<T> {
    type Item = T;
    type Error = TestError;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let Self { index, bell, steps, .. } = &mut *self;
        let source = *index;
        let wake = |step: &Step<T>| match step {
            Step::Pending(wake) => Some(*wake),
            _ => None,
        };
        steps.poll(source, bell, cx, wake).map(|step| match step {
            Some((_, Step::Item(item))) => Some(Ok(item)),
            Some((at, Step::Fail)) => Some(Err(TestError { source, at: At::Step(at) }.into())),
            Some((at, Step::Panic)) => panic!("source {source} panics as scripted, at {}", At::Step(at)),
            // A pending step was waited for.
            Some((_, Step::Pending(_))) | None => None,
        })
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        let Self { index, bell, close, .. } = &mut *self;
        let source = *index;
        let wake = |step: &CloseStep| match step {
            CloseStep::Pending(wake) => Some(*wake),
            _ => None,
        };
        close.poll(source, bell, cx, wake).map(|step| match step {
            Some((at, CloseStep::Fail)) => Err(TestError { source, at: At::CloseStep(at) }.into()),
            Some((at, CloseStep::Panic)) => {
                panic!("source {source} panics as scripted, at {}", At::CloseStep(at))
            }
            Some((_, CloseStep::Pending(_))) | None => Ok(()),
        })
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl<T> Drop for ScriptedSource<T> {
    fn drop(&mut self) {
        assert!(
            !self.drop_panics || std::thread::panicking(),
            "source {} panics as scripted, when dropped",
            self.index
        );
    }
}
