//! What becomes of a query when stores are slow, stuck or failing, each in all its phases, on a clock that is paused.

use losertree::CloseError;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use losertree::resource::BytePool;
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSetOptions, ResponseStats, RetrievalStrategy, SeriesOrder,
    empty_sources,
};
use losertree::stream::SourceEnd;
use losertree::{LeakLedger, Response};
use tokio::time::Instant;

use crate::timed::{self, Cast, Plan, Step, assert_no_timer, fail, frame, seconds, series, tasks, wait};

/// How many stores there are: one of each behaviour of a pair, and one between them that has nothing wrong.
const STORES: usize = 3;

/// What each store does.
type Cell = [Behaviour; STORES];

/// All but the total, which no cell comes near to.
const TIMEOUT: Duration = seconds(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Fine,
    Empty,
    SlowToOpen,
    SlowFrames,
    SlowToClose,
    StuckOpening,
    StuckAtFirst,
    StuckLater,
    StuckClosing,
    FailsToOpen,
    FailsAtFirst,
    FailsLater,
    BreaksTheOrder,
    FailsToClose,
    FailsAndIsStuckClosing,
}

use Behaviour::{
    BreaksTheOrder, Empty, FailsAndIsStuckClosing, FailsAtFirst, FailsLater, FailsToClose, FailsToOpen, Fine,
    SlowFrames, SlowToClose, SlowToOpen, StuckAtFirst, StuckClosing, StuckLater, StuckOpening,
};

const BEHAVIOURS: [Behaviour; 15] = [
    Fine,
    Empty,
    SlowToOpen,
    SlowFrames,
    SlowToClose,
    StuckOpening,
    StuckAtFirst,
    StuckLater,
    StuckClosing,
    FailsToOpen,
    FailsAtFirst,
    FailsLater,
    BreaksTheOrder,
    FailsToClose,
    FailsAndIsStuckClosing,
];

impl Behaviour {
    /// The plan of the store at `index`, whose series are its own.
    fn plan(self, index: usize) -> Plan {
        let frame = |nth: usize| frame(nth * STORES + index);
        let all = || vec![frame(1), frame(2), frame(3)];
        let two_and = |step| vec![frame(1), frame(2), step];
        let (open, answer, close) = match self {
            Fine => (vec![], all(), vec![]),
            Empty => (vec![], vec![], vec![]),
            SlowToOpen => (vec![wait(3)], all(), vec![]),
            SlowFrames => (vec![], (1..=3).flat_map(|nth| [wait(3), frame(nth)]).collect(), vec![]),
            SlowToClose => (vec![], all(), vec![wait(3)]),
            StuckOpening => (vec![Step::Stuck], vec![], vec![]),
            StuckAtFirst => (vec![], vec![Step::Stuck], vec![]),
            StuckLater => (vec![], two_and(Step::Stuck), vec![]),
            StuckClosing => (vec![], all(), vec![Step::Stuck]),
            FailsToOpen => (vec![fail()], vec![], vec![]),
            FailsAtFirst => (vec![], vec![fail()], vec![]),
            FailsLater => (vec![], two_and(fail()), vec![]),
            BreaksTheOrder => (vec![], two_and(frame(0)), vec![]),
            FailsToClose => (vec![], all(), vec![fail()]),
            FailsAndIsStuckClosing => (vec![], two_and(fail()), vec![Step::Stuck]),
        };
        Plan { name: format!("store-{index}"), open, answer, close }
    }

    /// How many series reach the merge, and how many have come from the store.
    const fn series(self) -> (usize, u64) {
        match self {
            Empty | StuckOpening | StuckAtFirst | FailsToOpen | FailsAtFirst => (0, 0),
            StuckLater | FailsLater | FailsAndIsStuckClosing => (2, 2),
            BreaksTheOrder => (2, 3),
            _ => (3, 3),
        }
    }

    /// What goes wrong.
    const fn errors(self) -> &'static [&'static str] {
        match self {
            Fine | Empty | SlowToOpen | SlowFrames | SlowToClose => &[],
            StuckOpening => &["open timeout after 5s"],
            StuckAtFirst | StuckLater => &["frame timeout after 5s"],
            StuckClosing => &["close timeout after 5s"],
            FailsToOpen => &["failed while opening: connection reset"],
            FailsAtFirst | FailsLater | FailsToClose => &["connection reset"],
            BreaksTheOrder => &["item 2 comes before the one ahead of it"],
            FailsAndIsStuckClosing => &["connection reset", "close timeout after 5s"],
        }
    }

    /// How long it takes until it is known that nothing more comes, and how long then to close it.
    const fn takes(self) -> (Duration, Duration) {
        match self {
            SlowToOpen => (seconds(3), Duration::ZERO),
            SlowFrames => (seconds(9), Duration::ZERO),
            SlowToClose => (Duration::ZERO, seconds(3)),
            StuckOpening | StuckAtFirst | StuckLater => (TIMEOUT, Duration::ZERO),
            StuckClosing | FailsAndIsStuckClosing => (Duration::ZERO, TIMEOUT),
            _ => (Duration::ZERO, Duration::ZERO),
        }
    }

    fn end(self) -> SourceEnd {
        if self.errors().is_empty() { SourceEnd::Exhausted } else { SourceEnd::Failed }
    }

    const fn needs_timeouts(self) -> bool {
        matches!(self, StuckOpening | StuckAtFirst | StuckLater | StuckClosing | FailsAndIsStuckClosing)
    }
}

/// When the head of a store is known that it has as its `nth`, or that there is none.
const fn head_at(store: Behaviour, nth: u64, strategy: RetrievalStrategy) -> Duration {
    match (strategy, store) {
        (RetrievalStrategy::Lazy, SlowFrames) => seconds(if nth < 3 { 3 * nth } else { 9 }),
        (RetrievalStrategy::Lazy, StuckLater) if nth <= 2 => Duration::ZERO,
        _ => store.takes().0,
    }
}

/// When the merge takes the last series of the store at `index`: those of the stores before it come first.
fn taken_at(cell: Cell, index: usize, strategy: RetrievalStrategy) -> Duration {
    let last = cell[index].series().0 as u64;
    let of = |(other, store): (usize, &Behaviour)| head_at(*store, last + u64::from(other < index), strategy);
    cell.iter().enumerate().map(of).max().unwrap()
}

/// When the last store is released, if all are asked to the end: each is closed as soon as it has ended, be it that its
/// series are still to be given. The time in which it may close begins when somebody waits for that.
fn ends_at(cell: Cell, strategy: RetrievalStrategy) -> Duration {
    let released_at = cell.iter().enumerate().map(|(index, store)| {
        let (received, closing) = store.takes();
        let is_given_up = matches!(store, StuckClosing | FailsAndIsStuckClosing);
        closing + if is_given_up { taken_at(cell, index, strategy) } else { received }
    });
    released_at.max().unwrap()
}

struct Trial {
    cast: Cast,
    ledger: LeakLedger,
    pool: BytePool,
    query: ProxyQuery<losertree_testkit::Checked<timed::TimedSource>>,
    start: Instant,
}

impl Trial {
    fn new(
        cell: Cell,
        strategy: RetrievalStrategy,
        partial: PartialResponseStrategy,
        is_timed: bool,
    ) -> Self {
        let cast = Cast::default();
        let ledger = LeakLedger::sites();
        let pool = BytePool::builder().ledger(&ledger).build().unwrap();
        let mut sets = ResponseSetOptions::new().retrieval(strategy).pool(&pool);
        if is_timed {
            sets = sets.open_timeout(TIMEOUT).frame_timeout(TIMEOUT).close_timeout(TIMEOUT);
            sets = sets.total_timeout(seconds(60));
        }
        let plans = cell.iter().enumerate().map(|(index, store)| store.plan(index));
        let query = ProxyQuery::builder()
            .stores(cast.stores(plans))
            .response_sets(sets)
            .partial_response(partial)
            .ledger(&ledger)
            .build();
        Self { cast, ledger, pool, query, start: Instant::now() }
    }

    /// Asserts that everything was given back, though the query is still there.
    #[track_caller]
    fn assert_released(&self, cell: Cell) {
        assert_eq!(tasks(), 0);
        assert_eq!(self.pool.snapshot().used_bytes, 0);
        self.ledger.assert_balanced();
        assert!(self.ledger.snapshot().is_all_closed());
        self.cast.assert_released();
        assert!(self.cast.opened_at().iter().all(|at| *at == self.start));
        for (store, source) in cell.iter().zip(self.cast.log.sources()) {
            // One that could not be opened there is nothing to close of; one that does not close in time is dropped.
            let is_unclosed = matches!(store, StuckOpening | FailsToOpen) || source.close_polls == 0;
            let is_given_up = matches!(store, StuckClosing | FailsAndIsStuckClosing);
            assert_eq!(source.close.is_complete(), !is_unclosed && !is_given_up, "{source:?}");
        }
    }
}

fn cells() -> impl Iterator<Item = (Cell, RetrievalStrategy, bool)> {
    let pairs = BEHAVIOURS.into_iter().flat_map(|first| BEHAVIOURS.map(|last| [first, Fine, last]));
    pairs.flat_map(|cell| {
        let needs_timeouts = cell.iter().any(|store| store.needs_timeouts());
        let strategies = [RetrievalStrategy::Lazy, RetrievalStrategy::Eager];
        strategies.into_iter().flat_map(move |strategy| {
            [true, false]
                .into_iter()
                .filter(move |is_timed| *is_timed || !needs_timeouts)
                .map(move |is_timed| (cell, strategy, is_timed))
        })
    })
}

/// The series that come if none is left out.
fn expected(cell: Cell) -> Vec<Response> {
    let of =
        |(index, store): (usize, &Behaviour)| (1..=store.series().0).map(move |nth| nth * STORES + index);
    let mut indices: Vec<_> = cell.iter().enumerate().flat_map(of).collect();
    indices.sort_unstable();
    indices.into_iter().map(series).collect()
}

/// Asserts that this is what goes wrong in these stores, in any order.
#[track_caller]
fn assert_errors(cell: Cell, mut told: Vec<(usize, String)>) {
    for (index, store) in cell.iter().enumerate() {
        for error in store.errors() {
            let found = told.iter().position(|(of, text)| *of == index && text.ends_with(error));
            told.swap_remove(found.unwrap_or_else(|| panic!("store {index}: {error}, not in {told:?}")));
        }
    }
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn with_warnings_each_store_costs_its_own_answer_and_nothing_else() {
    for (cell, strategy, is_timed) in cells() {
        eprintln!("{cell:?} {strategy:?} timeouts: {is_timed}");
        let mut trial = Trial::new(cell, strategy, PartialResponseStrategy::Warn, is_timed);
        let answer: Vec<_> = trial.query.by_ref().try_collect().await.unwrap();
        assert_eq!(trial.start.elapsed(), ends_at(cell, strategy));
        trial.assert_released(cell);
        assert_eq!(trial.cast.opened_at().len(), STORES);
        trial.query.close().await.unwrap();

        let is_warning = |response: &Response| matches!(response, Response::Warning(_));
        let (warnings, answer): (Vec<_>, Vec<_>) = answer.into_iter().partition(is_warning);
        assert_eq!(answer, expected(cell));
        let warnings = warnings.into_iter().map(|warning| {
            let Response::Warning(warning) = warning else { unreachable!() };
            let origin = warning.origin();
            let index = origin.index().unwrap();
            assert_eq!(origin.name(), Some(format!("store-{index}").into()));
            (index, warning.message().to_owned())
        });
        assert_errors(cell, warnings.collect());

        let stats = trial.query.stats();
        assert_eq!(stats.is_partial, cell.iter().any(|store| !store.errors().is_empty()));
        assert_eq!(empty_sources(&stats), cell.iter().filter(|store| **store == Empty).count());
        for (store, stats) in cell.iter().zip(stats.sources) {
            assert_eq!(stats.end, Some(store.end()));
            assert_eq!(stats.items, store.series().0 as u64);
            let received = stats.received().unwrap();
            assert_eq!((received.series, received.frames), (store.series().1, store.series().1));
        }
        assert_no_timer_sometimes(cell).await;
    }
}

/// It takes real time, so it is not done in each cell.
async fn assert_no_timer_sometimes(cell: Cell) {
    if cell[0] == cell[2] {
        assert_no_timer().await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_abort_the_first_error_ends_it_and_all_are_told() {
    for (cell, strategy, is_timed) in cells() {
        eprintln!("{cell:?} {strategy:?} timeouts: {is_timed}");
        let mut trial = Trial::new(cell, strategy, PartialResponseStrategy::Abort, is_timed);
        let mut answer = Vec::new();
        let mut failed = None;
        while let Some(next) = trial.query.next().await {
            assert!(failed.is_none(), "nothing comes after the error");
            match next {
                Ok(series) => answer.push(series),
                Err(error) => failed = Some((trial.start.elapsed(), error)),
            }
        }
        let ended_at = trial.start.elapsed();
        trial.assert_released(cell);
        let expected = expected(cell);
        let stats = trial.query.stats();
        assert!(!stats.is_partial, "there is an error, or it is complete");

        let Some((failed_at, error)) = failed else {
            assert!(cell.iter().all(|store| store.errors().is_empty()));
            assert_eq!(answer, expected);
            assert_eq!(ended_at, ends_at(cell, strategy));
            assert!(stats.sources.iter().all(|source| source.end == Some(SourceEnd::Exhausted)));
            continue;
        };
        assert!(expected.starts_with(&answer), "{answer:?}");
        // A store that fails before it has given anything need not wait for its turn.
        let known_at = cell.iter().filter(|store| !store.errors().is_empty() && store.series().0 == 0);
        if let Some(known_at) = known_at.map(|store| store.takes().0).min() {
            assert!(failed_at <= known_at, "{failed_at:?} {known_at:?}");
        }
        assert!(failed_at <= ends_at(cell, strategy));
        let closing = cell.iter().map(|store| store.takes().1).max().unwrap();
        assert!(ended_at <= failed_at + closing, "all are closed concurrently: {ended_at:?}");

        // Everything that was met besides is told by `close`, and only what stores can fail with.
        let others = trial.query.close().await.err().map_or(vec![], CloseError::into_errors);
        for error in [error].into_iter().chain(others) {
            let index = error.path().index().unwrap();
            assert_eq!(error.path().name(), Some(format!("store-{index}").into()));
            let text = error.report();
            assert!(cell[index].errors().iter().any(|expected| text.ends_with(expected)), "{text}");
        }
        for (store, stats) in cell.iter().zip(stats.sources) {
            let end = stats.end.unwrap();
            assert!(end == store.end() || end == SourceEnd::ClosedEarly, "{store:?} {end:?}");
            assert!(stats.items <= store.series().0 as u64);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_stores_are_opened_at_once_however_many_they_are() {
    for strategy in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let cast = Cast::default();
        let plan = |index| Plan { open: vec![wait(3)], answer: vec![frame(index)], ..Plan::default() };
        let start = Instant::now();
        let sets = ResponseSetOptions::new().retrieval(strategy).series_order(SeriesOrder::Trusted);
        let query = ProxyQuery::builder().stores(cast.stores((0..300).map(plan))).response_sets(sets).build();
        let answer: Vec<_> = query.try_collect().await.unwrap();
        assert_eq!(answer, (0..300).map(series).collect::<Vec<_>>());
        assert_eq!(cast.opened_at(), [start; 300]);
        assert_eq!(start.elapsed(), seconds(3));
        assert_eq!(tasks(), 0);
    }
}
