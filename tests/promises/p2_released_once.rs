//! P2: every source handed in is released exactly once, on every path.
//!
//! The fault matrix: each fault in each phase, met by each way out, under both error policies and random
//! schedules. Every source is checked against its contract, and every ledger must balance.

use losertree::stream::PollClose;
use losertree::stream::PollNext;
use std::panic::{AssertUnwindSafe, catch_unwind};

use losertree::key::By;
use losertree::stream::{SourceEnd, SourceStats};
use losertree::{LeakLedger, ProxyResponseLoserTree};
use losertree_testkit::{
    Checked, End, Item, Random, Script, ScriptedSource, Stage, TestError, Wake, panic_at,
    silence_scripted_panics,
};

type Numbered = Item<u64>;
type Store = Checked<ScriptedSource<Numbered>>;

const SOURCES: usize = 5;
const ITEMS: usize = 4;

/// What goes wrong in the source in the middle.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    ErrorFilling, // F10, F36
    ErrorMerging, // F9, F17, F21, F27, F41
    PanicFilling,
    PanicMerging,
    CloseFails, // F18, F40
    ClosePanics,
    CloseStuck, // F5
    NeverReady, // F8
    DropPanics, // F47
    ErrorAndCloseFails,
    ErrorAndDropPanics,
}

const FAULTS: [Fault; 12] = [
    Fault::None,
    Fault::ErrorFilling,
    Fault::ErrorMerging,
    Fault::PanicFilling,
    Fault::PanicMerging,
    Fault::CloseFails,
    Fault::ClosePanics,
    Fault::CloseStuck,
    Fault::NeverReady,
    Fault::DropPanics,
    Fault::ErrorAndCloseFails,
    Fault::ErrorAndDropPanics,
];

/// How the merge is left, after some items.
#[derive(Debug, Clone, Copy)]
enum Exit {
    RunToTheEnd,
    Close,
    /// The future of the close is dropped after this many polls, then closed again.
    CloseTwice(usize),
    Drop,
    /// The future of the close is dropped after this many polls, then the merge is dropped.
    CloseAndDrop(usize),
    IntoSources,
}

const EXITS: [Exit; 8] = [
    Exit::RunToTheEnd,
    Exit::Close,
    Exit::CloseTwice(0),
    Exit::CloseTwice(1),
    Exit::Drop,
    Exit::CloseAndDrop(1),
    Exit::CloseAndDrop(2),
    Exit::IntoSources,
];

fn script(source: usize) -> Script<Numbered> {
    // Every source has items of every height, with ties between sources.
    Script::of((0..ITEMS).map(|sequence| Item::new(sequence as u64 * 2, source, sequence)))
}

fn faulty(fault: Fault, source: usize) -> Script<Numbered> {
    let first = Script::of([Item::new(0, source, 0), Item::new(3, source, 1)]);
    match fault {
        Fault::None => script(source),
        Fault::ErrorFilling => Script::new().fail(),
        Fault::ErrorMerging => first.fail(),
        Fault::PanicFilling => Script::new().panic(),
        Fault::PanicMerging => first.panic(),
        Fault::CloseFails => first.close_fails(),
        Fault::ClosePanics => first.close_panics(),
        Fault::CloseStuck => first.close_pending(Wake::Never),
        Fault::NeverReady => first.pending(Wake::Never),
        Fault::DropPanics => first.drop_panics(),
        Fault::ErrorAndCloseFails => first.fail().close_fails(),
        Fault::ErrorAndDropPanics => first.fail().drop_panics(),
    }
}

fn stage_of(fault: Fault, seed: u64) -> (Stage, Vec<Store>) {
    let stage = Stage::new();
    let random = &mut Random::seed(seed);
    let scripts = (0..SOURCES).map(|source| {
        let script = if source == SOURCES / 2 { faulty(fault, source) } else { script(source) };
        // Some schedules have no pauses at all: the paths of what is ready at once.
        script.with_pauses(random, if seed.is_multiple_of(3) { 0.0 } else { 0.4 })
    });
    let sources = stage.sources(scripts.collect::<Vec<_>>());
    (stage, sources)
}

/// Takes items until the end or until there are `n`, going on after panics as a caller may who caught them.
/// Returns the identities, and how it ended.
fn take<O: losertree::key::Order<Numbered>>(
    stage: &Stage,
    merge: &mut ProxyResponseLoserTree<Store, O>,
    seed: u64,
    n: usize,
) -> (Vec<(usize, usize)>, usize, End) {
    let mut driver = stage.driver(seed).restless(0.1);
    let (mut taken, mut errors) = (Vec::new(), 0);
    loop {
        let run = driver.run_up_to(merge, n - taken.len());
        for item in run.items {
            match item {
                Ok(item) => taken.push(item.identity()),
                Err(_) => errors += 1,
            }
        }
        match run.end {
            End::Panicked(_) => {}
            End::Enough if taken.len() < n => {}
            end => return (taken, errors, end),
        }
    }
}

/// Leaves the merge by `exit`, and checks that all is released and recorded.
fn leave<O: losertree::key::Order<Numbered>>(
    stage: &Stage,
    mut merge: ProxyResponseLoserTree<Store, O>,
    exit: Exit,
    seed: u64,
    context: &str,
) {
    let mut driver = stage.driver(seed ^ 0xC105E);
    match exit {
        Exit::RunToTheEnd => {
            let (_, _, end) = take(stage, &mut merge, seed ^ 1, usize::MAX);
            if end == End::Finished {
                // P4: the end means that all are closed.
                let unreleased = stage.log().sources().iter().filter(|source| !source.dropped).count();
                assert_eq!(unreleased, 0, "{context}: None before every source was released");
                let again = driver.run(&mut merge);
                assert_eq!((again.items.len(), again.end), (0, End::Finished), "{context}: None for ever");
            } else {
                assert!(matches!(end, End::Deadlock { .. }), "{context}: {end:?}");
            }
        }
        Exit::Close => {
            // A close that panics is called again, and goes on with the others.
            while let Err(End::Panicked(_)) = driver.complete(merge.close()) {}
        }
        Exit::CloseTwice(polls) => {
            let half = catch_unwind(AssertUnwindSafe(|| {
                driver.poll_times(merge.close(), polls).map_err(drop).err()
            }));
            drop(half);
            while let Err(End::Panicked(_)) = driver.complete(merge.close()) {}
            // F14: closing once more closes nothing twice; the checker would see it.
            if stage.log().sources().iter().all(|source| source.dropped) {
                assert_eq!(driver.complete(merge.close()), Ok(Ok(())), "{context}: closed already");
            }
        }
        Exit::Drop => {}
        Exit::CloseAndDrop(polls) => {
            let half = catch_unwind(AssertUnwindSafe(|| {
                driver.poll_times(merge.close(), polls).map_err(drop).err()
            }));
            drop(half);
        }
        Exit::IntoSources => {
            let undrained = merge.into_sources();
            let held: Vec<usize> = undrained.iter().map(|it| it.index).collect();
            assert!(held.is_sorted(), "{context}: in source order");
            for it in undrained {
                drop(catch_unwind(AssertUnwindSafe(|| drop(it.source))));
            }
            stage.log().assert_released();
            return;
        }
    }
    // P5: dropping never panics, even if the drop of a source does.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(merge)));
    assert!(dropped.is_ok(), "{context}: the drop of the merge panicked");
    stage.log().assert_released();
}

// F1, F2, F9, F17, F19, F27, F36, F40, F47
#[test]
fn the_fault_matrix() {
    silence_scripted_panics();
    for fault in FAULTS {
        for exit in EXITS {
            for partial in [false, true] {
                for after in [0, 1, 3, 7, 12] {
                    for seed in 0..9 {
                        run_cell(fault, exit, partial, after, seed);
                    }
                }
            }
        }
    }
}

fn run_cell(fault: Fault, exit: Exit, partial: bool, after: usize, seed: u64) {
    let context = format!("{fault:?}, {exit:?}, partial {partial}, after {after}, seed {seed}");
    let (stage, sources) = stage_of(fault, seed);
    let ledger = LeakLedger::sites();
    let mut builder = ProxyResponseLoserTree::builder().sources(sources).ledger(&ledger);
    if partial {
        let mut warnings = 0;
        builder = builder.warn_with(move |_| {
            warnings += 1;
            Item::new(u64::MAX, SOURCES, warnings)
        });
    }
    let mut merge = builder.build();
    assert_eq!(ledger.snapshot().open, SOURCES as u64, "{context}");
    let (taken, errors, _) = take(&stage, &mut merge, seed, after);
    assert!(errors <= 1, "{context}: {errors} errors");
    let mut unique = taken.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), taken.len(), "{context}: repeated items {taken:?}");
    leave(&stage, merge, exit, seed, &context);
    let record = ledger.snapshot();
    assert!(record.is_balanced(), "{context}: {record}");
    assert_eq!(
        record.closed + record.failed + record.handed_back + record.dropped_unclosed,
        SOURCES as u64,
        "{context}: {record}"
    );
    let unclosed = stage.log().sources().iter().filter(|source| source.dropped_unclosed()).count() as u64;
    if !matches!(exit, Exit::IntoSources) && !matches!(fault, Fault::DropPanics | Fault::ErrorAndDropPanics) {
        assert_eq!(record.dropped_unclosed, unclosed, "{context}: {record}");
    }
}

// F51: a comparator that panics at its n-th call, for every n.
#[test]
fn a_comparator_that_panics() {
    silence_scripted_panics();
    for nth in 1..=40 {
        for exit in EXITS {
            for after in [0, 2, 9] {
                for seed in 0..3 {
                    let context = format!("call {nth}, {exit:?}, after {after}, seed {seed}");
                    let (stage, sources) = stage_of(Fault::None, seed);
                    let ledger = LeakLedger::counts();
                    let order = By::new(panic_at(nth, |a: &Numbered, b: &Numbered| a.key.cmp(&b.key)));
                    let mut merge = ProxyResponseLoserTree::builder()
                        .sources(sources)
                        .order(order)
                        .ledger(&ledger)
                        .build();
                    let (_, _, _) = take(&stage, &mut merge, seed, after);
                    leave(&stage, merge, exit, seed, &context);
                    ledger.assert_balanced();
                }
            }
        }
    }
}

/// No item is lost by a comparator that panics: what was yielded, the heads and what is left in the sources
/// is everything.
#[test]
fn a_comparator_that_panics_costs_no_item() {
    silence_scripted_panics();
    for nth in 1..=40 {
        let (stage, sources) = stage_of(Fault::None, 0);
        let order = By::new(panic_at(nth, |a: &Numbered, b: &Numbered| a.key.cmp(&b.key)));
        let mut merge = ProxyResponseLoserTree::builder().sources(sources).order(order).build();
        let run = stage.driver(nth as u64).run(&mut merge);
        let mut found: Vec<_> =
            run.items.into_iter().map(|item| item.expect("no source fails").identity()).collect();
        for it in merge.into_sources() {
            found.extend(it.head.map(|item| item.identity()));
            let mut rest = ProxyResponseLoserTree::new([it.source]);
            found.extend(rest_of(&stage, &mut rest));
        }
        found.sort_unstable();
        let all: Vec<_> = (0..SOURCES).flat_map(|s| (0..ITEMS).map(move |i| (s, i))).collect();
        assert_eq!(found, all, "call {nth}");
    }
}

fn rest_of(stage: &Stage, merge: &mut ProxyResponseLoserTree<Store>) -> Vec<(usize, usize)> {
    let run = stage.driver(0).run(merge);
    run.items.into_iter().map(|item: Result<Numbered, _>| item.expect("no fault").identity()).collect()
}

// F36: construction that fails half-way.
#[test]
fn a_panic_while_sources_are_made() {
    silence_scripted_panics();
    let stage = Stage::new();
    let made = catch_unwind(AssertUnwindSafe(|| {
        let sources = (0..SOURCES).map(|source| {
            assert!(source < 3, "the fourth store cannot be reached");
            stage.source(script(source))
        });
        ProxyResponseLoserTree::new(sources)
    }));
    assert!(made.is_err());
    assert_eq!(stage.log().sources().len(), 3);
    stage.log().assert_released();
}

/// A source whose name panics, in the middle of construction.
#[test]
fn a_panic_while_the_merge_is_made() {
    struct Nameless(Store, bool);
    impl losertree::Source for Nameless {
        type Item = Numbered;
        type Error = TestError;
        fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> PollNext<Self> {
            std::pin::Pin::new(&mut self.0).poll_next(cx)
        }
        fn poll_close(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> PollClose<Self> {
            std::pin::Pin::new(&mut self.0).poll_close(cx)
        }
        fn name(&self) -> Option<&str> {
            assert!(!self.1, "no name");
            None
        }
    }
    silence_scripted_panics();
    let stage = Stage::new();
    let ledger = LeakLedger::sites();
    let sources: Vec<_> = (0..SOURCES).map(|s| Nameless(stage.source(script(s)), s == 3)).collect();
    let builder = ProxyResponseLoserTree::builder().sources(sources).ledger(&ledger);
    assert!(catch_unwind(AssertUnwindSafe(|| builder.build())).is_err());
    stage.log().assert_released();
    ledger.assert_balanced();
    assert_eq!(ledger.snapshot().dropped_unclosed, 3);
}

#[test]
fn how_each_source_ended_is_in_the_stats() {
    silence_scripted_panics();
    let expected = [
        (Fault::None, SourceEnd::Exhausted),
        (Fault::ErrorMerging, SourceEnd::Failed),
        (Fault::CloseFails, SourceEnd::Failed),
        (Fault::PanicMerging, SourceEnd::Panicked),
        (Fault::ClosePanics, SourceEnd::Panicked),
    ];
    for (fault, end) in expected {
        let (stage, sources) = stage_of(fault, 0);
        let mut merge = ProxyResponseLoserTree::builder().sources(sources).times().build();
        take(&stage, &mut merge, 0, usize::MAX);
        let stats = merge.stats();
        assert_eq!(stats.sources[SOURCES / 2].end, Some(end), "{fault:?}");
        for (index, figures) in stage.log().sources().iter().enumerate() {
            let source = &stats.sources[index];
            assert_eq!(source.origin.index(), index);
            assert_eq!(source.items, figures.items as u64, "{fault:?}, source {index}");
            assert_eq!(source.polls, (figures.next_polls + figures.close_polls) as u64, "{fault:?}");
            assert_eq!(source.time_to_first_item.is_some(), figures.items > 0);
            assert!(source.duration.is_some(), "{fault:?}: every source was polled");
        }
    }
}

#[test]
fn who_does_not_ask_for_times_gets_none() {
    let (stage, sources) = stage_of(Fault::None, 0);
    let mut merge = ProxyResponseLoserTree::new(sources);
    take(&stage, &mut merge, 0, usize::MAX);
    let timed = |source: &SourceStats| source.duration.is_some() || source.time_to_first_item.is_some();
    assert!(!merge.stats().sources.iter().any(timed));
}
