use std::hint::black_box;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How often the comparison is made before it fails: a machine that does something else may spoil some of them.
const ATTEMPTS: usize = 8;
/// Four times as much to do may take so many times as long. What grows as `n log n` takes 5 times as long, or somewhat
/// more where a cache is left; what grows by the square takes 16 times as long.
const AT_MOST: f64 = 10.0;

/// Asserts that what takes `n` steps does not grow by the square: with `4 * n` of them it takes less than 10 times as
/// long. `prepare` makes what is not timed, `run` is.
///
/// Sizes are compared, and no time is looked at by itself: it holds on any machine. On Linux it is the time that the thread has had of a
/// processor, so that others do not count. Choose `n` so large that the square would show.
///
/// # Panics
///
/// If it has taken longer in each of some attempts.
///
/// # Examples
///
/// ```
/// use losertree_testkit::assert_no_square;
///
/// assert_no_square(10_000, |n| (0..n).rev().collect::<Vec<_>>(), |mut numbers| numbers.sort_unstable());
/// ```
pub fn assert_no_square<T, R>(n: usize, prepare: impl Fn(usize) -> T, run: impl Fn(T) -> R) {
    let time = |n| {
        let prepared = prepare(n);
        let (start, before) = (Instant::now(), processor_time());
        let result = black_box(run(black_box(prepared)));
        let (elapsed, after) = (start.elapsed(), processor_time());
        drop(result);
        let time = before.and_then(|before| after?.checked_sub(before)).unwrap_or(elapsed);
        time.max(Duration::from_nanos(1))
    };
    let mut ratios = Vec::new();
    for _ in 0..ATTEMPTS {
        let ratio = time(4 * n).as_secs_f64() / time(n).as_secs_f64();
        if ratio < AT_MOST {
            return;
        }
        ratios.push(ratio);
    }
    panic!("four times as much takes so many times as long: {ratios:.1?}");
}

/// How long this thread has had a processor, if the system tells.
fn processor_time() -> Option<Duration> {
    // It is brought up to date when a thread gives way.
    thread::yield_now();
    let times = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
