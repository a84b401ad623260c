use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Polls a future until it completes, but at most `n` times, and gives it back if it is not done then.
///
/// For tests of what happens when a future is dropped half-way, after each number of polls that it can have
/// had. It polls whether or not the future was woken. A future that is not [`Unpin`] has to be pinned first,
/// by `Box::pin` or `std::pin::pin!`.
///
/// # Errors
///
/// The future, if it is not done.
///
/// # Examples
///
/// ```
/// use losertree_testkit::poll_times;
///
/// assert!(poll_times(std::future::pending::<()>(), 10).is_err());
/// assert!(matches!(poll_times(std::future::ready(1), 1), Ok(1)));
/// ```
pub fn poll_times<F: Future + Unpin>(mut future: F, n: usize) -> Result<F::Output, F> {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..n {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut cx) {
            return Ok(output);
        }
    }
    Err(future)
}
