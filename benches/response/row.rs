use losertree::stream::{PollClose, PollNext};
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::vec;

use losertree::{Response, Source};

/// What each source gives.
pub(crate) type Answers = Vec<Vec<Response>>;

/// A transport that is always ready.
pub(crate) struct Ready(pub(crate) vec::IntoIter<Response>);

impl Source for Ready {
    type Item = Response;
    type Error = Infallible;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}

/// A name, and what is timed.
pub(crate) type Contender = (&'static str, Box<dyn Fn() -> Duration>);

/// Contenders that do the same, or something on top of the first.
pub(crate) struct Row {
    pub(crate) name: String,
    /// How many series each of them goes through.
    pub(crate) series: usize,
    pub(crate) contenders: Vec<Contender>,
}

/// Times what is done to the answers, which are cloned before.
pub(crate) fn timed<T>(
    name: &'static str,
    answers: &Rc<Answers>,
    run: impl Fn(Answers) -> T + 'static,
) -> Contender {
    let answers = Rc::clone(answers);
    let timed = move || {
        let answers = answers.to_vec();
        let start = Instant::now();
        black_box(run(answers));
        start.elapsed()
    };
    (name, Box::new(timed))
}
