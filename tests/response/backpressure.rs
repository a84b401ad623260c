//! What a set holds while nobody reads is bounded, nobody waits for ever, and nobody is woken in vain.

use losertree::error::Cause;
use losertree::stream::{PollClose, PollNext};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::vec;

use allocation_counter::measure;
use futures::StreamExt;
use futures::future::BoxFuture;
use losertree::resource::BytePool;
use losertree::response::{
    ProxyQuery, ResponseSet, ResponseSetOptions, RetrievalStrategy, SeriesOrder, Store,
};
use losertree::{Chunk, Labels, Response, Series, Source, Warning};
use losertree_testkit::{
    Checked, CountingWaker, Driver, Log, Random, Script, ScriptedSource, Stage, Tasks, Wake,
};
use quickcheck::QuickCheck;

type Set = ResponseSet<Checked<ScriptedSource<Response>>>;

fn series(pod: usize, bytes: usize) -> Series {
    let labels = Labels::from_pairs([("pod", format!("pod-{pod:05}"))]).unwrap();
    Series::new(labels, vec![Chunk::new(0, 9, vec![0; bytes])])
}

fn pool(budget_bytes: usize) -> BytePool {
    BytePool::builder().smallest_bytes(16).largest_bytes(16).budget_bytes(budget_bytes).build().unwrap()
}

fn spawning(options: &ResponseSetOptions, tasks: &Tasks) -> ResponseSetOptions {
    let tasks = tasks.clone();
    options.clone().spawn_with(move |task| tasks.spawn(task))
}

/// Polls a set and its task until it gives something, or nothing is left to be done.
fn next(set: &mut Set, tasks: &Tasks) -> Poll<Option<Response>> {
    let mut cx = Context::from_waker(Waker::noop());
    let polled = tasks.poll(&mut cx, |cx| Pin::new(&mut *set).poll_next(cx));
    // So that the next call polls the set again.
    polled.map(|next| next.map(Result::unwrap))
}

/// Frames of any kind and size that each give something.
fn random_frames(random: &mut Random) -> Vec<Response> {
    let mut pod = 0;
    let mut one = |random: &mut Random| {
        pod += 1;
        series(pod, [0, 50, 500][random.below(3)])
    };
    (0..random.below(60))
        .map(|_| match random.below(4) {
            0 => Warning::new("slow").into(),
            1 => Response::Batch((0..=random.below(4)).map(|_| one(random)).collect()),
            _ => one(random).into(),
        })
        .collect()
}

// F35
/// The reader stops anywhere. What was taken from the store by then and was not used up is at most what the buffer may
/// hold, and one frame.
#[test]
fn a_reader_that_stops_stops_the_store() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let frames = random_frames(&mut random);
        let (most_frames, most_bytes) = (1 + random.below(8), [0, 300, 1_000, usize::MAX][random.below(4)]);
        let budget = [None, Some(100), Some(1_000)][random.below(3)];
        let charged = pool(budget.unwrap_or(100));
        let mut options = ResponseSetOptions::new().buffer_frames(most_frames).buffer_bytes(most_bytes);
        if budget.is_some() {
            options = options.pool(&charged);
        }
        let stage = Stage::new();
        let tasks = Tasks::new(seed);
        let options = if random.chance(0.7) { spawning(&options, &tasks) } else { options };
        let script = Script::of(frames.clone()).with_pauses(&mut random, 0.2);
        let mut set = ResponseSet::new(Store::opened("store", stage.source(script)), &options);

        // Each response, by the frame in which it is.
        let in_frame: Vec<usize> =
            frames.iter().enumerate().flat_map(|(at, frame)| vec![at; frame.series_count().max(1)]).collect();
        let sizes: Vec<usize> = frames.iter().map(Response::size_bytes).collect();
        let largest = sizes.iter().copied().max().unwrap_or(0);
        let stops = random.below(in_frame.len() + 1);
        let mut given: usize = 0;
        loop {
            let pulled = stage.log().items();
            // A frame is in use until all of it was given, and the set was asked for more.
            let used_up = given.checked_sub(1).map_or(0, |last| in_frame[last]);
            assert!(pulled <= used_up + most_frames + 1, "{pulled} were pulled, {used_up} used up");
            let in_memory: usize = sizes[used_up..pulled].iter().sum();
            assert!(in_memory <= most_bytes.max(largest).saturating_add(largest), "{in_memory} bytes");
            let figures = charged.snapshot();
            assert!(figures.reserved_bytes <= figures.budget_bytes);
            if budget.is_some() {
                assert!(in_memory <= figures.reserved_bytes + largest, "one is not charged at most");
            }
            if given == stops && stage.bell().ring_all() == 0 {
                break;
            }
            tasks.run_until_idle();
            if given == stops {
                continue;
            }
            match next(&mut set, &tasks) {
                Poll::Ready(Some(_)) => given += 1,
                Poll::Ready(None) => panic!("too few"),
                Poll::Pending => assert!(stage.bell().ring_all() > 0, "a deadlock"),
            }
        }
        drop(set);
        tasks.run_until_idle();
        stage.log().assert_released();
        assert_eq!((charged.snapshot().reserved_bytes, charged.snapshot().waiting), (0, 0));
        true
    }
    QuickCheck::new().tests(5_000).quickcheck(property as fn(u64) -> bool);
}

/// The bound is used: while nobody reads, the store is asked again well before the buffer is empty.
#[test]
fn the_buffer_fills_while_nobody_reads() {
    for frames in 1..10 {
        let (stage, tasks) = (Stage::new(), Tasks::new(1));
        let script = Script::of((0..100).map(|pod| series(pod, 0).into()));
        let options = spawning(&ResponseSetOptions::new().buffer_frames(frames), &tasks);
        let mut set = ResponseSet::new(Store::opened("store", stage.source(script)), &options);
        for given in 1..50 {
            assert!(next(&mut set, &tasks).is_ready());
            tasks.run_until_idle();
            let ahead = stage.log().items() - given;
            assert!((frames / 4..=frames + 1).contains(&ahead), "{ahead} of {frames}");
        }
    }
}

/// Many sets, and memory for a few frames: the merge wants one of each, so each gets one.
#[test]
fn a_pool_that_is_too_small_for_all_stops_nobody() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let (stores, frames) = (1 + random.below(30), 20);
        let one = Response::from(series(0, 50)).size_bytes();
        let pool = pool(one * random.below(4) + 16);
        let (stage, tasks) = (Stage::new(), Tasks::new(seed));
        let options = ResponseSetOptions::new().pool(&pool).buffer_frames(1 + random.below(8));
        let options = if random.chance(0.7) { spawning(&options, &tasks) } else { options };
        let store = |at: usize| {
            let all = (0..frames).map(|frame| series(frame * stores + at, 50).into());
            let script = Script::of(all).with_pauses(&mut random, 0.1);
            Store::opened(format!("store-{at}"), stage.source(script))
        };
        let stores: Vec<_> = (0..stores).map(store).collect();
        let expected = stores.len() * frames;
        let mut query = ProxyQuery::builder().stores(stores).response_sets(options).build();
        let mut driver = Driver::new(stage.bell().clone(), Log::new(), Random::seed(seed));
        let mut stream = futures::stream::poll_fn(|cx| tasks.poll(cx, |cx| query.poll_next_unpin(cx)));
        assert_eq!(driver.run(&mut stream).ok().len(), expected);
        stage.log().assert_closed();
        let figures = pool.snapshot();
        assert!(figures.peak_bytes <= figures.budget_bytes);
        assert_eq!((figures.reserved_bytes, figures.waiting), (0, 0));
        true
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(u64) -> bool);
}

/// A set holds as much as there is memory for, which nobody reads. Others are served beside it, be they sets or not: it
/// stands in no queue.
#[test]
fn a_set_that_nobody_reads_stands_in_nobodys_way() {
    let one = Response::from(series(0, 0)).size_bytes();
    for unread in [1, 3] {
        let pool = pool(3 * one);
        let (stage, tasks) = (Stage::new(), Tasks::new(1));
        let options = spawning(&ResponseSetOptions::new().pool(&pool), &tasks);
        let mut sets: Vec<_> = (0..=unread)
            .map(|at| {
                let script = Script::of((0..9).map(|pod| series(pod, 0).into()));
                ResponseSet::new(Store::opened(format!("store-{at}"), stage.source(script)), &options)
            })
            .collect();
        let mut read = sets.pop().unwrap();
        let pulled = || stage.log().sources().iter().map(|source| source.items).collect::<Vec<_>>();
        for set in &mut sets {
            assert!(next(set, &tasks).is_ready());
        }
        tasks.run_until_idle();
        // The first holds all of the memory, and a frame that waits for some. The others hold a frame each.
        assert_eq!(pulled()[..unread], [[4, 1, 1].as_slice(), &[]].concat()[..unread]);
        assert_eq!((pool.snapshot().waiting, pool.snapshot().reserved_bytes), (0, 3 * one));
        for pod in 0..9 {
            assert_eq!(next(&mut read, &tasks), Poll::Ready(Some(series(pod, 0).into())));
            tasks.run_until_idle();
            // One after another: what is held beside the budget is a frame of each set.
            assert_eq!(pulled()[unread], pod + 1);
        }
        assert_eq!(next(&mut read, &tasks), Poll::Ready(None));
        // What is given back is for who asks next.
        drop(sets);
        tasks.run_until_idle();
        assert!(pool.try_lease(16).is_ok());
        assert_eq!((pool.snapshot().waiting, pool.snapshot().reserved_bytes), (0, 0));
        // Nobody was told that there is no memory.
        assert_eq!((pool.snapshot().refusals.count, pool.snapshot().refusals.bytes), (0, 0));
        drop(read);
        stage.log().assert_released();
    }
}

/// A refusal is an error that somebody got: who looks at the figures looks for queries that fail.
#[test]
fn only_a_set_that_fails_for_want_of_memory_counts_as_refused() {
    let one = Response::from(series(0, 0)).size_bytes();
    for (strategy, order, refusals) in [
        (RetrievalStrategy::Lazy, SeriesOrder::Checked, 0),
        (RetrievalStrategy::Lazy, SeriesOrder::Sorted, 1),
        (RetrievalStrategy::Eager, SeriesOrder::Checked, 1),
    ] {
        let pool = pool(9 * one);
        let mut others = pool.reservation();
        others.try_grow(8 * one).unwrap();
        let (stage, tasks) = (Stage::new(), Tasks::new(1));
        let options = ResponseSetOptions::new().pool(&pool).retrieval(strategy).series_order(order);
        let script = Script::of((0..9).map(|pod| series(pod, 0).into()));
        let store = Store::opened("store", stage.source(script));
        let mut set = ResponseSet::new(store, &spawning(&options, &tasks));
        let mut cx = Context::from_waker(Waker::noop());
        let (mut came, mut failed) = (0, 0);
        while failed == 0 {
            match tasks.poll(&mut cx, |cx| Pin::new(&mut set).poll_next(cx)) {
                Poll::Pending => panic!("it waits for nothing"),
                Poll::Ready(Some(Ok(_))) => came += 1,
                Poll::Ready(Some(Err(error))) => {
                    assert!(matches!(error.cause(), Cause::Pool(_)), "{error:?}");
                    failed += 1;
                }
                Poll::Ready(None) => break,
            }
        }
        let refused = pool.snapshot().refusals;
        assert_eq!((failed, refused.count), (refusals, refusals), "{strategy:?} {order:?}");
        assert_eq!(refused.bytes, refusals * one as u64);
        assert_eq!(came, if refusals > 0 { 1 } else { 9 }, "{strategy:?} {order:?}");
    }
}

/// Memory that comes free is used as soon as a frame of the set is used up.
#[test]
fn a_set_without_memory_tries_again_when_it_is_read() {
    let one = Response::from(series(0, 0)).size_bytes();
    for free in [0, one, 2 * one] {
        let pool = pool(20 * one);
        let mut others = pool.reservation();
        others.try_grow(20 * one - free).unwrap();
        let (stage, tasks) = (Stage::new(), Tasks::new(1));
        let options = spawning(&ResponseSetOptions::new().pool(&pool).buffer_frames(8), &tasks);
        let script = Script::of((0..40).map(|pod| series(pod, 0).into()));
        let mut set = ResponseSet::new(Store::opened("store", stage.source(script)), &options);
        assert!(next(&mut set, &tasks).is_ready());
        tasks.run_until_idle();
        // Those that are charged and one more.
        assert_eq!((stage.log().items(), pool.snapshot().waiting), (free / one + 1, 0));
        drop(others);
        tasks.run_until_idle();
        assert_eq!(stage.log().items(), free / one + 1, "nobody has read");
        assert!(next(&mut set, &tasks).is_ready());
        tasks.run_until_idle();
        assert!(pool.snapshot().reserved_bytes >= 6 * one, "{free}");
    }
}

// P9
/// A task is woken when half of its buffer is free, and not for each frame; the reader only when it waits.
#[test]
fn nobody_is_woken_in_vain() {
    const FRAMES: usize = 1_000;
    for buffered in [1, 2, 8, 64] {
        let (stage, tasks) = (Stage::new(), Tasks::new(1));
        let script = Script::of((0..FRAMES).map(|pod| series(pod, 0).into()));
        let options = spawning(&ResponseSetOptions::new().buffer_frames(buffered), &tasks);
        let mut set = ResponseSet::new(Store::opened("store", stage.source(script)), &options);
        let reader = CountingWaker::new();
        let waker = reader.waker();
        let mut cx = Context::from_waker(&waker);
        let (mut given, mut polls) = (0, 0);
        while given < FRAMES {
            polls += 1;
            match Pin::new(&mut set).poll_next(&mut cx) {
                Poll::Ready(next) => {
                    drop(next.unwrap().unwrap());
                    given += 1;
                    assert_eq!(reader.wakes(), 0, "it did not wait");
                }
                Poll::Pending => {
                    tasks.run_until_idle();
                    assert_eq!(reader.take(), 1);
                }
            }
            if given % 3 == 0 {
                tasks.run_until_idle();
                reader.take();
            }
        }
        assert!(polls <= FRAMES + 2 * FRAMES / buffered + 2, "{polls} polls");
        let most = FRAMES.div_ceil(buffered.div_ceil(2)) + 2;
        assert!(tasks.polls() <= most, "{} polls of the task, {buffered} buffered", tasks.polls());
    }
}

// P9
/// A frame that had waited for memory leaves no wish behind: when the buffer is emptied later, while the store is silent,
/// the task has nothing to do.
#[test]
fn a_wait_that_is_over_wakes_nobody() {
    let one = Response::from(series(0, 0)).size_bytes();
    let pool = pool(one);
    let (stage, tasks) = (Stage::new(), Tasks::new(1));
    let script = Script::of((0..2).map(|pod| series(pod, 0).into())).pending(Wake::Later);
    let options = spawning(&ResponseSetOptions::new().pool(&pool), &tasks);
    let mut set = ResponseSet::new(Store::opened("store", stage.source(script)), &options);
    assert!(next(&mut set, &tasks).is_ready());
    tasks.run_until_idle();
    assert_eq!((stage.log().items(), pool.snapshot().reserved_bytes), (2, one), "the second has to wait");
    assert!(next(&mut set, &tasks).is_ready());
    tasks.run_until_idle();
    assert_eq!(pool.snapshot().reserved_bytes, one, "the second is charged");
    let polls = tasks.polls();
    assert!(next(&mut set, &tasks).is_pending());
    assert_eq!((tasks.polls(), pool.snapshot().reserved_bytes), (polls, 0));
    stage.bell().ring_all();
    assert_eq!(next(&mut set, &tasks), Poll::Ready(None));
    assert_eq!(tasks.polls(), polls + 1);
    stage.log().assert_clean();
}

// P9
/// A set without a task wakes nobody by itself, neither while it is read nor when it is closed or dropped.
#[test]
fn a_set_that_fills_its_buffer_itself_wakes_nobody() {
    for ends in ["closed", "dropped"] {
        let stage = Stage::new();
        let mut script = Script::new();
        for pod in 0..50 {
            script = script.item(series(pod, 0).into()).pending(Wake::Later);
        }
        let script = script.close_pending(Wake::Later);
        let mut set =
            ResponseSet::new(Store::opened("store", stage.source(script)), &ResponseSetOptions::new());
        let reader = CountingWaker::new();
        let waker = reader.waker();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..20 {
            while Pin::new(&mut set).poll_next(&mut cx).is_ready() {}
            assert_eq!(reader.take(), 0);
            assert_eq!((stage.bell().ring_all(), reader.take()), (1, 1));
        }
        assert!(Pin::new(&mut set).poll_next(&mut cx).is_ready());
        assert!(Pin::new(&mut set).poll_next(&mut cx).is_pending());
        if ends == "closed" {
            assert!(Pin::new(&mut set).poll_close(&mut cx).is_pending());
            assert_eq!(reader.take(), 0);
            stage.bell().ring_all();
            assert_eq!(Pin::new(&mut set).poll_close(&mut cx), Poll::Ready(Ok(())));
            reader.take();
        }
        drop(set);
        assert_eq!(reader.wakes(), 0);
        stage.bell().ring_all();
        drop(waker);
        assert_eq!(reader.kept(), 0, "no waker is kept");
        stage.log().assert_released();
    }
}

/// Gives frames, and allocates nothing.
struct Bare(vec::IntoIter<Response>);

impl Source for Bare {
    type Item = Response;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}

// P10
#[test]
fn after_start_up_a_series_allocates_nothing() {
    const SERIES: usize = 2_000;
    let budget = pool(1 << 30);
    let plain = ResponseSetOptions::new();
    let cases = [
        ("lazy", plain.clone()),
        ("lazy, charged", plain.clone().pool(&budget)),
        ("lazy, in few frames", plain.clone().buffer_frames(1)),
        ("lazy, trusted", plain.clone().series_order(SeriesOrder::Trusted)),
        ("eager", plain.clone().retrieval(RetrievalStrategy::Eager)),
    ];
    for (what, options) in cases {
        for is_spawned in [false, true] {
            let task: Arc<Mutex<Option<BoxFuture<'static, ()>>>> = Arc::default();
            let options = if is_spawned {
                let task = Arc::clone(&task);
                options.clone().spawn_with(move |spawned| *task.lock().unwrap() = Some(spawned))
            } else {
                options.clone()
            };
            let frames: Vec<Response> = (0..SERIES).map(|pod| series(pod, 10).into()).collect();
            let mut set = ResponseSet::new(Store::opened("store", Bare(frames.into_iter())), &options);
            let mut cx = Context::from_waker(Waker::noop());
            let mut take = |most: usize| {
                let mut given = 0;
                while given < most {
                    match Pin::new(&mut set).poll_next(&mut cx) {
                        Poll::Ready(Some(next)) => given += usize::from(next.is_ok()),
                        Poll::Ready(None) => break,
                        Poll::Pending => {
                            if let Some(task) = &mut *task.lock().unwrap() {
                                let _ = task.as_mut().poll(&mut cx);
                            }
                        }
                    }
                }
                given
            };
            assert_eq!(take(300), 300);
            let mut given = 0;
            let counted = measure(|| given = take(1_500));
            assert_eq!((given, counted.count_total), (1_500, 0), "{what}, {is_spawned}");
        }
    }
}

/// Lends what it gives, and is closed only when all of it has come back; it never wakes for that.
struct Lender {
    left: usize,
    lent: Arc<()>,
}

impl Source for Lender {
    type Item = Response;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
        struct Lent {
            _lent: Arc<()>,
        }
        impl AsRef<[u8]> for Lent {
            fn as_ref(&self) -> &[u8] {
                b"data"
            }
        }
        let Some(left) = self.left.checked_sub(1) else { return Poll::Pending };
        self.left = left;
        let data = bytes::Bytes::from_owner(Lent { _lent: self.lent.clone() });
        let labels = Labels::from_pairs([("pod", format!("pod-{:05}", 99 - left))]).unwrap();
        Poll::Ready(Some(Ok(Series::new(labels, vec![Chunk::new(0, 9, data)]).into())))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
        if Arc::strong_count(&self.lent) == 1 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

// P15
#[test]
fn no_frame_is_kept_when_the_closing_of_its_store_begins() {
    let tasks = Tasks::new(1);
    // The second frame is at hand, and has no room or no memory.
    let (narrow, poor) =
        (ResponseSetOptions::new().buffer_bytes(1), ResponseSetOptions::new().pool(&pool(16)));
    let wide = ResponseSetOptions::new();
    for options in [narrow, poor, wide] {
        for options in [options.clone(), spawning(&options, &tasks)] {
            let store = Store::opened("lender", Lender { left: 5, lent: Arc::default() });
            let mut set = ResponseSet::new(store, &options);
            let mut cx = Context::from_waker(Waker::noop());
            let first = tasks.poll(&mut cx, |cx| Pin::new(&mut set).poll_next(cx));
            assert!(matches!(first, Poll::Ready(Some(Ok(_)))));
            tasks.run_until_idle();
            drop(first);
            let closed = tasks.poll(&mut cx, |cx| Pin::new(&mut set).poll_close(cx));
            assert!(matches!(closed, Poll::Ready(Ok(()))), "something is kept: {options:?}");
        }
    }
}

/// A set that leaves out most of a batch charges and keeps what is left.
#[test]
fn a_batch_that_was_cut_takes_the_memory_of_what_is_left() {
    const SERIES: usize = 1_000;
    const BATCHES: usize = 20;
    let shard = losertree::response::ShardMatcher::by(["pod"], 0, 50).unwrap();
    let batch = |at: usize| (SERIES * at..SERIES * (at + 1)).map(|pod| series(pod, 0));
    let left = |at| -> Vec<_> { batch(at).filter(|series| shard.matches(&series.labels)).collect() };
    let left_bytes: usize = (0..BATCHES).map(|at| Response::Batch(left(at)).size_bytes()).sum();
    let batches = futures::stream::iter(0..BATCHES)
        .map(move |at| Ok::<_, Infallible>(Response::Batch(batch(at).collect())))
        .chain(futures::stream::pending());
    let pool = pool(1 << 30);
    let options = ResponseSetOptions::new().shard(shard.clone()).pool(&pool);
    let mut set = ResponseSet::new(Store::opened("store", losertree::from_stream(batches)), &options);
    let mut first = None;
    let held = measure(|| {
        let mut cx = Context::from_waker(Waker::noop());
        first = Some(Pin::new(&mut set).poll_next(&mut cx));
    });
    assert!(matches!(first, Some(Poll::Ready(Some(Ok(_))))));
    assert_eq!(pool.snapshot().reserved_bytes, left_bytes);
    let whole = BATCHES * SERIES * size_of::<Series>();
    let held = usize::try_from(held.bytes_current).unwrap();
    assert!(held < left_bytes + whole / 4, "{held} of {whole}, {left_bytes} are left");
}

/// A frame that is too large is a failure of its store, however it is received: told once, with what came before.
#[test]
fn a_frame_that_is_too_large_costs_its_store_the_rest() {
    let limit_bytes = Response::from(series(0, 100)).size_bytes();
    let large = || Response::Batch(vec![series(3, 100), series(4, 100)]);
    let options = ResponseSetOptions::new().frame_limit_bytes(limit_bytes);
    let tasks = Tasks::new(1);
    let ways = [spawning(&options, &tasks), options.clone(), options.retrieval(RetrievalStrategy::Eager)];
    for options in ways {
        for is_read in [true, false] {
            let stage = Stage::new();
            let pool = pool(1 << 20);
            let frames = [series(1, 100).into(), series(2, 0).into(), large(), series(5, 0).into()];
            let mut set = ResponseSet::new(
                Store::opened("store", stage.source(Script::of(frames))),
                &options.clone().pool(&pool),
            );
            let mut cx = Context::from_waker(Waker::noop());
            let mut poll_next = || tasks.poll(&mut cx, |cx| Pin::new(&mut set).poll_next(cx));
            let told = if is_read {
                for pod in [1, 2] {
                    let Poll::Ready(Some(Ok(Response::Series(series)))) = poll_next() else {
                        panic!("{pod}")
                    };
                    assert_eq!(series.labels, self::series(pod, 0).labels);
                }
                let Poll::Ready(Some(Err(error))) = poll_next() else { panic!("it is too large") };
                Some(error.into_cause())
            } else {
                assert!(matches!(poll_next(), Poll::Ready(Some(Ok(_)))));
                tasks.run_until_idle();
                None
            };
            let closed = tasks.poll(&mut cx, |cx| Pin::new(&mut set).poll_close(cx));
            let Poll::Ready(closed) = closed else { panic!("nothing is to be waited for") };
            let frame_bytes = large().size_bytes();
            let cause = Cause::FrameTooLarge { frame_bytes, limit_bytes };
            let closed = losertree_testkit::one_cause(closed).err();
            assert_eq!(told.or(closed), Some(cause));
            stage.log().assert_closed();
            drop(set);
            assert_eq!(pool.snapshot().used_bytes, 0);
        }
    }
}
