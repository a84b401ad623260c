use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use losertree::Response;

/// What each source gives.
pub(crate) type Answers = Vec<Vec<Response>>;

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
