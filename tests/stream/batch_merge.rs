//! The async merge of batches: what comes out of it, and what it asks of its sources.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt, stream};
use losertree::error::Cause;
use losertree::key::By;
use losertree::merge::window::{Columns, Direction, Gather, Nullable, RowOrder, Values};
use losertree::stream::{BatchMergeBuilder, CloseOnDrop, Closer, Merged, OrderCheck, SourceEnd, is_closing};
use losertree::{
    BatchMerge, LeakLedger, Source, SourceError, closing, from_iter, from_stream, merge_batches_with,
};
use losertree_testkit::{
    Checked, Comparisons, CountingWaker, End, Item, Random, Run, Runs, Script, ScriptedSource, Stage, Step,
    TestError, TestKey, Wake, assert_merged, assert_same, merged, panic_at, silence_scripted_panics,
};
use quickcheck::quickcheck;

type Batch<K> = Vec<Item<K>>;
type Scripted<K> = Checked<ScriptedSource<Batch<K>>>;

/// Cuts a run into batches of random sizes, some of them empty.
fn batches<K: Clone>(run: &[Item<K>], most: usize, random: &mut Random) -> Vec<Batch<K>> {
    let mut batches = Vec::new();
    let mut rest = run;
    while !rest.is_empty() || random.chance(0.2) {
        let (batch, after) = rest.split_at(random.below(rest.len().min(most) + 1));
        batches.push(batch.to_vec());
        rest = after;
    }
    batches
}

/// As [`batches`], without empty ones.
fn full_batches<K: Clone>(run: &[Item<K>], most: usize, random: &mut Random) -> Vec<Batch<K>> {
    batches(run, most, random).into_iter().filter(|batch| !batch.is_empty()).collect()
}

fn all_batches<K: Clone>(runs: &[Vec<Item<K>>], most: usize, random: &mut Random) -> Vec<Vec<Batch<K>>> {
    runs.iter().map(|run| batches(run, most, random)).collect()
}

fn builder<K>(sources: Vec<Scripted<K>>) -> BatchMergeBuilder<Scripted<K>> {
    BatchMerge::builder().sources(sources)
}

type Next<K> = Result<Merged<Batch<K>, TestError>, SourceError<TestError>>;

/// The rows of a window; a warning is none of these tests' business that call this.
fn rows<K: Clone + std::fmt::Debug>(next: Next<K>) -> Result<Batch<K>, SourceError<TestError>> {
    next.map(|next| match next {
        Merged::Window(window) => {
            for run in window.runs() {
                let batch = window.batch(run.source()).unwrap();
                assert!(batch[run.rows()].iter().all(|item| item.source == batch.source().index()));
            }
            let rows: Vec<_> = window.items().cloned().collect();
            assert!(!rows.is_empty() && rows.len() == window.rows());
            rows
        }
        Merged::Warning(warning) => panic!("{warning:?}"),
    })
}

/// Runs a merge to its end, or its panic.
fn run<K, O>(
    stage: &Stage,
    seed: u64,
    merge: &mut BatchMerge<Scripted<K>, O>,
) -> Run<Result<Batch<K>, SourceError<TestError>>>
where
    K: Clone + std::fmt::Debug,
    O: RowOrder<Batch<K>>,
{
    stage.driver(seed).run(&mut merge.by_ref().map(rows))
}

#[test]
fn rows_are_those_of_the_oracle() {
    fn property<K: TestKey>(runs: Runs<K>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        for (most, window_rows) in [(5, usize::MAX), (5, 1), (1, 7), (100, 1 + random.below(50))] {
            let stage = Stage::new();
            let all = all_batches(runs.as_slice(), most, random);
            let given: Vec<_> = all.iter().map(|batches| batches.len() as u64).collect();
            let sources = stage.sources_of(all, random, 0.2);
            let mut merge = builder(sources).window_rows(window_rows).build();
            let windows = run(&stage, seed, &mut merge).ok();
            assert!(windows.iter().all(|window| window.len() <= window_rows));
            assert_merged(&windows.concat(), runs.as_slice());
            let stats = merge.stats();
            assert_eq!(stats.items, runs.as_slice().concat().len() as u64);
            assert_eq!(stats.sources.iter().map(|source| source.items).collect::<Vec<_>>(), given);
            stage.log().assert_closed();
        }
        true
    }
    quickcheck(property::<u64> as fn(Runs<u64>, u64) -> bool);
    quickcheck(property::<String> as fn(Runs<String>, u64) -> bool);
}

#[test]
fn large_windows_are_those_of_the_oracle() {
    for (seed, sources) in [(1, 2), (2, 3), (3, 40)] {
        let random = &mut Random::seed(seed);
        let keys = losertree_testkit::inputs::uniform(seed, sources, 30_000);
        let runs = Runs::from_keys(keys);
        let stage = Stage::new();
        let all = all_batches(runs.as_slice(), 3_000, random);
        let mut merge = builder(stage.sources_of(all, random, 0.1)).build();
        let windows = run(&stage, seed, &mut merge).ok();
        assert!(windows.len() < 10_000);
        assert_merged(&windows.concat(), runs.as_slice());
        stage.log().assert_closed();
    }
}

#[test]
fn a_window_serves_for_gathering() {
    let source = |batches: Vec<Vec<u64>>| from_iter(batches);
    let merge = BatchMerge::new([source(vec![vec![1, 4], vec![6]]), source(vec![vec![2, 3, 5]])]);
    let mut out = Vec::new();
    block_on(merge.try_for_each(|next| {
        let window = next.into_window().unwrap();
        Gather::new(&window.as_window()).values(|batch| batch.as_slice(), &mut out);
        async { Ok(()) }
    }))
    .unwrap();
    assert_eq!(out, [1, 2, 3, 4, 5, 6]);
}

/// Columns with directions, nulls and codes of their own: what an engine has. The sync merge of the same batches is the model.
#[test]
fn batches_with_columns_come_as_from_the_sync_merge() {
    type Keys = Vec<Nullable<Values<Vec<i64>>, Box<dyn Fn(usize) -> bool>>>;
    let random = &mut Random::seed(5);
    let sources: Vec<Vec<Vec<Option<i64>>>> = (0..5)
        .map(|_| {
            let key =
                |random: &mut Random| random.chance(0.9).then(|| random.below(9_000).cast_signed() as i64);
            let mut keys: Vec<_> = (0..6_000).map(|_| key(random)).collect();
            keys.sort_unstable();
            keys.chunks(700).map(<[_]>::to_vec).collect()
        })
        .collect();
    let batch = |keys: &Vec<Option<i64>>| -> Keys {
        let values = Values::new(keys.iter().map(|key| key.unwrap_or(7)).collect());
        let keys = keys.clone();
        vec![Nullable::new(values, Box::new(move |row| keys[row].is_none()))]
    };
    let batches = || sources.iter().map(|source| source.iter().map(batch).collect::<Vec<_>>());
    let order = || Columns::new([Direction::ASCENDING.nulls_first()]);
    let (mut expected, mut rows) = (Vec::new(), Vec::new());
    let mut model = merge_batches_with(batches(), order());
    loop {
        let window = model.next_window(usize::MAX);
        if window.is_empty() {
            break;
        }
        let rows = |run: &losertree::merge::window::Run| {
            run.rows().map(|row| (run.source(), run.batch(), row)).collect::<Vec<_>>()
        };
        expected.extend(window.runs().iter().flat_map(rows));
    }
    let mut merge = BatchMerge::builder().sources(batches().map(from_iter)).order(order()).build();
    while let Some(next) = block_on(merge.next_window()) {
        for run in next.unwrap().into_window().unwrap().runs() {
            rows.extend(run.rows().map(|row| (run.source(), run.batch(), row)));
        }
    }
    assert_eq!((rows.len(), &rows), (30_000, &expected));
    // Nulls were told from the sevens that stand for them.
    let key = |(source, batch, row): &(usize, usize, usize)| sources[*source][*batch][*row];
    assert!(rows.is_sorted_by_key(key));
}

/// P9, P11: a source is polled at first, and when all its rows have been handed out and more are asked for.
#[test]
fn a_source_is_polled_once_for_each_batch_and_not_early() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let all: Vec<_> = runs.as_slice().iter().map(|run| full_batches(run, 6, random)).collect();
        for window_rows in [usize::MAX, 2] {
            let stage = Stage::new();
            let mut merge =
                builder(stage.sources_of(all.clone(), random, 0.0)).window_rows(window_rows).build();
            assert_eq!(stage.log().polls(), 0);
            let mut taken = vec![0; all.len()];
            // How many batches end within so many rows.
            let used_up = |source: usize, rows: usize| {
                let ends = all[source].iter().scan(0, |end, batch: &Batch<u64>| {
                    *end += batch.len();
                    Some(*end)
                });
                ends.take_while(|end| *end <= rows).count()
            };
            loop {
                let before = taken.clone();
                let Some(next) = block_on(merge.next_window()) else { break };
                rows(next).unwrap().iter().for_each(|item| taken[item.source] += 1);
                for (source, figures) in stage.log().sources().iter().enumerate() {
                    let most = used_up(source, before[source]) + 1;
                    assert!(figures.next_polls <= most && figures.next_polls > 0);
                    // Each window is all that is decided.
                    assert!(window_rows < usize::MAX || figures.next_polls == most);
                }
            }
            stage.log().assert_closed();
        }
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// P9: sources that become ready one after the other cost a poll each.
#[test]
fn starting_up_costs_as_many_polls_as_there_are_sources() {
    let stage = Stage::new();
    let script = |source| Script::new().pending(Wake::Later).item(vec![Item::new(7_u64, source, 0)]);
    let mut merge = builder(stage.sources((0..300).map(script))).build();
    let windows = run(&stage, 1, &mut merge).ok();
    assert_eq!(windows.concat().len(), 300);
    assert!(stage.log().sources().iter().all(|figures| figures.next_polls == 3));
}

/// P12: one poll of the merge polls at most 128 sources, and empty batches count.
#[test]
fn one_poll_polls_few_sources() {
    let empty = Script::of(vec![vec![]; 1_000]).item(vec![Item::new(7_u64, 0, 0)]);
    let many = (0..1_000).map(|source| Script::of([vec![Item::new(7, source, 0)]]));
    for scripts in [vec![empty], many.collect()] {
        let stage = Stage::new();
        let expected = scripts.len();
        let mut merge = builder(stage.sources(scripts)).build();
        let task = CountingWaker::new();
        let waker = task.waker();
        let (mut items, mut pending) = (0, 0);
        loop {
            let before = stage.log().polls();
            task.take();
            let polled = merge.poll_next_window(&mut Context::from_waker(&waker));
            // Besides those that are closed where they end.
            assert!(stage.log().polls() - before <= 2 * 128);
            match polled {
                Poll::Ready(Some(next)) => items += rows(next).unwrap().len(),
                Poll::Ready(None) => break,
                Poll::Pending => {
                    pending += 1;
                    assert_eq!(task.take(), 1, "pending, and not woken");
                }
            }
        }
        assert_eq!(items, expected);
        assert!(pending >= 1_000 / 128);
        stage.log().assert_closed();
    }
}

/// P7: rows are lost neither with a future that is dropped nor with a close that is.
#[test]
fn every_next_and_every_close_can_be_dropped() {
    for seed in 0..30 {
        let random = &mut Random::seed(seed);
        let runs = Runs::<u64>::random(random, 12);
        for patience in 1..4 {
            let stage = Stage::new();
            let sources = stage.sources_of(all_batches(runs.as_slice(), 4, random), random, 0.4);
            let mut merge = builder(sources).window_rows(3).build();
            let mut driver = stage.driver(seed);
            let mut items = Vec::new();
            let enough = random.below(2 * runs.as_slice().concat().len() + 1);
            while items.len() < enough {
                match driver.poll_times(merge.next_window(), patience) {
                    Ok(Some(next)) => items.extend(rows(next).unwrap()),
                    Ok(None) => break,
                    Err(unfinished) => drop(unfinished),
                }
            }
            let expected = merged(runs.as_slice());
            assert_same(&items, &expected[..items.len()]);
            assert!(items.len() >= enough.min(expected.len()));
            loop {
                match driver.poll_times(merge.close(), patience) {
                    Ok(closed) => break closed.unwrap(),
                    Err(unfinished) => drop(unfinished),
                }
            }
            stage.log().assert_closed();
            assert_eq!(block_on(merge.close()), Ok(()));
            assert!(block_on(merge.next_window()).is_none());
        }
    }
}

/// P2, P3, P5: closed or dropped after any number of polls, everything is released, and all errors of closing come back.
#[test]
fn all_are_released_wherever_it_ends() {
    for seed in 0..20 {
        for polls in 0..25 {
            for is_closed in [false, true] {
                let random = &mut Random::seed(seed);
                let runs = Runs::<u64>::random(random, 6);
                let stage = Stage::new();
                let fails = |source: usize| source.is_multiple_of(3);
                let scripts = all_batches(runs.as_slice(), 3, random).into_iter().enumerate();
                let scripts: Vec<_> = scripts
                    .map(|(source, batches)| {
                        let script = Script::of(batches).with_pauses(random, 0.3);
                        if fails(source) { script.close_fails() } else { script }
                    })
                    .collect();
                // Who fails in closing does not end it.
                let mut merge = builder(stage.sources(scripts)).warn().window_rows(2).build();
                let mut driver = stage.driver(seed);
                let mut warned = 0;
                for _ in 0..polls {
                    match driver.poll_times(merge.next_window(), 1) {
                        Ok(Some(next)) => warned += usize::from(next.unwrap().into_warning().is_some()),
                        Ok(None) => break,
                        Err(_) => {}
                    }
                }
                if is_closed {
                    let closed = driver.complete(merge.close()).unwrap();
                    let errors = closed.err().map_or(0, |errors| errors.into_errors().len());
                    assert_eq!(warned + errors, runs.as_slice().len().div_ceil(3));
                    stage.log().assert_closed();
                } else {
                    let before = stage.log().drop_order().len();
                    drop(merge);
                    stage.log().assert_released();
                    assert!(stage.log().drop_order()[before..].is_sorted());
                }
            }
        }
    }
}

/// P8: an error comes behind all rows that are decided, once; all others are closed; then comes the end.
#[test]
fn an_error_ends_the_merge_behind_the_decided_rows() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let runs = runs.as_slice();
        if runs.is_empty() {
            return true;
        }
        let random = &mut Random::seed(seed);
        let all = all_batches(runs, 5, random);
        let bad = random.below(runs.len());
        let good_batches = random.below(all[bad].len() + 1);
        let mut given = runs.to_vec();
        given[bad] = all[bad][..good_batches].concat();
        let scripts = all.into_iter().enumerate().map(|(source, mut batches)| {
            let script = if source == bad {
                batches.truncate(good_batches);
                Script::of(batches).fail()
            } else {
                Script::of(batches)
            };
            script.with_pauses(random, 0.2)
        });
        let stage = Stage::new();
        let mut merge = builder(stage.sources(scripts.collect::<Vec<_>>())).window_rows(4).build();
        let mut yielded = run(&stage, seed, &mut merge).finished();
        let error = yielded.pop().unwrap().unwrap_err();
        assert_eq!(error.path().index(), Some(bad));
        let items = yielded.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat();
        assert_same(&items, &merged(&given)[..items.len()]);
        let of_bad = items.iter().filter(|item| item.source == bad).count();
        assert_eq!(of_bad, given[bad].len(), "rows of the source were decided by its own last one");
        assert!(merge.is_closing());
        stage.log().assert_closed();
        assert_eq!(merge.stats().sources[bad].end, Some(SourceEnd::Failed));
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// The one error that can be met while decided rows wait is that of a closing.
#[test]
fn an_error_of_closing_waits_for_the_decided_rows() {
    for is_tolerated in [false, true] {
        let stage = Stage::new();
        let item = |key| Item::new(key, 1, 0);
        let scripts = [
            Script::of([vec![Item::new(0_u64, 0, 0)]]).close_pending(Wake::Later).close_fails(),
            Script::of([vec![item(1), item(2), item(3)], vec![item(4)]]),
        ];
        let merge = builder(stage.sources(scripts)).window_rows(1);
        let mut merge = if is_tolerated { merge.warn().build() } else { merge.build() };
        for key in 0..2 {
            assert_eq!(rows(block_on(merge.next_window()).unwrap()).unwrap()[0].key, key);
        }
        // Its closing goes on while there are decided rows.
        stage.bell().ring_one(&mut Random::seed(1)).unwrap();
        for key in 2..4 {
            assert_eq!(rows(block_on(merge.next_window()).unwrap()).unwrap()[0].key, key);
            assert!(stage.log().sources()[0].dropped && !merge.is_closing());
            let joins =
                if is_tolerated { None } else { Some(merge.push(Stage::new().source(Script::new()))) };
            assert!(joins.is_none_or(|joined| joined.is_err()), "it is going to end");
        }
        assert_eq!(stage.log().sources()[1].next_polls, 1);
        let next = block_on(merge.next_window()).unwrap();
        if is_tolerated {
            assert_eq!(next.unwrap().into_warning().unwrap().path().index(), Some(0));
            assert_eq!(rows(block_on(merge.next_window()).unwrap()).unwrap()[0].key, 4);
            assert!(merge.is_partial());
        } else {
            assert_eq!(next.unwrap_err().path().index(), Some(0));
        }
        assert!(block_on(merge.next_window()).is_none());
        stage.log().assert_closed();
    }
}

/// Warnings that wait are still to come.
#[test]
fn a_merge_with_warnings_to_give_is_not_only_closing() {
    let stage = Stage::new();
    let fails =
        |key, source| Script::of([vec![Item::new(key, source, 0)]]).close_pending(Wake::Later).close_fails();
    let scripts =
        [fails(0_u64, 0), fails(1, 1), Script::of([[2, 3, 9].map(|key| Item::new(key, 2, 0)).to_vec()])];
    let mut merge = builder(stage.sources(scripts)).warn().window_rows(1).limit(4).build();
    for key in 0..3 {
        assert_eq!(rows(block_on(merge.next_window()).unwrap()).unwrap()[0].key, key);
    }
    while stage.bell().ring_one(&mut Random::seed(1)).is_some() {}
    assert_eq!(rows(block_on(merge.next_window()).unwrap()).unwrap()[0].key, 3);
    for left in [1, 0] {
        assert!(block_on(merge.next_window()).unwrap().unwrap().into_warning().is_some());
        assert_eq!(merge.is_closing(), left == 0);
    }
    assert!(block_on(merge.next_window()).is_none());
    stage.log().assert_closed();
}

/// With partial response each poll gives a window or a warning, and the others go on.
#[test]
fn failing_sources_are_warnings_unless_they_are_required() {
    for seed in 0..60 {
        let random = &mut Random::seed(seed);
        let runs = Runs::<u64>::random(random, 15);
        let all = all_batches(runs.as_slice(), 4, random);
        let mut given = runs.as_slice().to_vec();
        let mut fail = |source: usize, mut batches: Vec<Batch<u64>>| {
            if source.is_multiple_of(2) {
                return Script::of(batches);
            }
            batches.truncate(random.below(batches.len() + 1));
            given[source] = batches.concat();
            Script::of(batches).fail()
        };
        let scripts: Vec<_> =
            all.into_iter().enumerate().map(|(source, batches)| fail(source, batches)).collect();
        let failing = scripts.len() / 2;
        for required in [None, Some(1)] {
            let stage = Stage::new();
            let random = &mut Random::seed(seed);
            let scripts = scripts.iter().cloned().map(|script| script.with_pauses(random, 0.2));
            let mut merge = builder(stage.sources(scripts))
                .warn()
                .required(move |source| Some(source.index()) == required)
                .window_rows(5)
                .build();
            let yielded = stage.driver(seed).run(&mut merge.by_ref()).finished();
            let (mut items, mut warned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
            for next in yielded {
                match next {
                    Ok(Merged::Window(window)) => items.extend(window.items().copied()),
                    Ok(Merged::Warning(warning)) => warned.push(warning.path().index().unwrap()),
                    Err(error) => failed.push(error.path().index().unwrap()),
                }
            }
            stage.log().assert_closed();
            if required.is_none() || failing == 0 {
                assert_same(&items, &merged(&given));
                warned.sort_unstable();
                assert_eq!(warned, (0..failing).map(|nth| 2 * nth + 1).collect::<Vec<_>>());
                assert!(failed.is_empty());
                assert_eq!(merge.is_partial(), failing > 0);
            } else {
                assert_eq!(failed, [1]);
                assert_same(&items, &merged(&given)[..items.len()]);
            }
        }
    }
}

/// Errors that are not yielded any more are among those of closing, be they warnings or not.
#[test]
fn closing_returns_errors_that_were_not_yielded() {
    for is_tolerated in [false, true] {
        let stage = Stage::new();
        let scripts = [
            Script::new().fail().close_fails(),
            Script::new().fail(),
            Script::of([vec![Item::new(1_u64, 2, 0)]]),
        ];
        let merge = builder(stage.sources(scripts));
        let mut merge = if is_tolerated { merge.warn().build() } else { merge.build() };
        assert!(block_on(merge.next_window()).is_some());
        let errors = block_on(merge.close()).unwrap_err().into_errors();
        let sources: Vec<_> = errors.iter().filter_map(|error| error.path().index()).collect();
        assert_eq!(sources, if is_tolerated { vec![0, 1] } else { vec![0] });
        stage.log().assert_closed();
    }
}

#[test]
fn a_limit_bounds_the_rows_and_the_merging() {
    for seed in 0..30 {
        let random = &mut Random::seed(seed);
        let runs = Runs::<u64>::random(random, 30);
        let expected = merged(runs.as_slice());
        for limit in [0, 1, 2, 7, expected.len(), expected.len() + 1] {
            for window_rows in [usize::MAX, 3] {
                let stage = Stage::new();
                let sources = stage.sources_of(all_batches(runs.as_slice(), 6, random), random, 0.2);
                let mut merge = builder(sources).limit(limit as u64).window_rows(window_rows).build();
                let items = run(&stage, seed, &mut merge).ok().concat();
                assert_same(&items, &expected[..limit.min(expected.len())]);
                stage.log().assert_closed();
                assert!(limit > 0 || stage.log().items() == 0);
                assert!(merge.push(stage.source(Script::new())).is_err());
            }
        }
    }
    let sources = losertree_testkit::inputs::uniform(1, 16, 100_000);
    let comparisons = Comparisons::new();
    let order = By::new(comparisons.counting(Ord::cmp));
    let merge = BatchMerge::builder().sources(sources.into_iter().map(|run| from_iter([run]))).order(order);
    let mut merge = merge.limit(10).build();
    assert_eq!(block_on(merge.next_window()).unwrap().unwrap().into_window().unwrap().rows(), 10);
    assert!(comparisons.count() <= 15 + 10 * (2 * 4 + 6), "{}", comparisons.count());
}

/// Rows that are decided and were not handed out are merged again with those of a source that joins.
#[test]
fn a_push_takes_effect_at_once() {
    for seed in 0..200 {
        let random = &mut Random::seed(seed);
        let mut runs = Runs::<u64>::random(random, 8).into_vec();
        let stage = Stage::new();
        let sources = stage.sources_of(all_batches(&runs, 40, random), random, 0.1);
        let ledger = LeakLedger::sites();
        let mut merge = builder(sources)
            .window_rows(1 + random.below(4))
            .kept_stats(1)
            .ledger(&ledger)
            .order_check(OrderCheck::Fail, |batch, row| vec![batch[row]])
            .build();
        let mut driver = stage.driver(seed);
        let mut items: Vec<Item<u64>> = Vec::new();
        let mut pushes = 12;
        loop {
            if pushes > 0 && random.chance(0.3) {
                pushes -= 1;
                let least = items.last().map_or(0, |item| item.key);
                let source = runs.len();
                let mut keys: Vec<_> =
                    (0..random.below(20)).map(|_| least.saturating_add(random.below(9) as u64)).collect();
                keys.sort_unstable();
                let run = keys.into_iter().enumerate().map(|(at, key)| Item::new(key, source, at));
                runs.push(run.collect());
                let script = Script::of(batches(&runs[source], 10, random)).with_pauses(random, 0.1);
                match merge.push(stage.source(script)) {
                    Ok(index) => assert_eq!(index, source),
                    // It had ended by then.
                    Err(_) => {
                        runs.pop();
                    }
                }
            }
            match driver.complete(merge.next_window()).unwrap() {
                Some(next) => items.extend(rows(next).unwrap()),
                None => break,
            }
        }
        assert_merged(&items, &runs);
        assert_eq!(merge.stats().items, items.len() as u64);
        stage.log().assert_closed();
        ledger.assert_balanced();
    }
}

/// P16: places of sources that are gone are used again.
#[test]
fn many_may_come_and_go() {
    let stage = Stage::new();
    let mut merge = builder::<u64>(vec![]).kept_stats(3).build();
    let resident = stage.source(Script::of((0..1_000).map(|key| vec![Item::new(2 * key, 0, 0)])));
    merge.push(resident).unwrap();
    for source in 1..1_000 {
        let script = Script::of([vec![Item::new(2 * source as u64 - 1, source, 0)]]);
        assert_eq!(merge.push(stage.source(script)).unwrap(), source);
        for _ in 0..2 {
            let next = block_on(merge.next_window()).unwrap().unwrap().into_window().unwrap();
            assert!(next.batches().len() < 20);
        }
    }
    block_on(merge.close()).unwrap();
    assert!(merge.stats().sources.len() < 20);
    stage.log().assert_closed();
}

#[test]
fn nobody_joins_what_is_closing() {
    let stage = Stage::new();
    let mut merge = builder(stage.sources([Script::of([vec![Item::new(1_u64, 0, 0)]])])).build();
    block_on(merge.close()).unwrap();
    let refused = merge.push(stage.source(Script::new())).unwrap_err();
    drop(refused.source_not_added);
    let mut merge = builder(stage.sources([Script::<Batch<u64>>::new().fail()])).build();
    assert!(block_on(merge.next_window()).unwrap().is_err());
    assert!(merge.push(stage.source(Script::new())).is_err());
}

/// P13: a source that panics anywhere is dropped, and the others are closed.
#[test]
fn a_source_that_panics_is_released_and_the_others_are_closed() {
    silence_scripted_panics();
    for at in 0..6 {
        for seed in 0..10 {
            let random = &mut Random::seed(seed);
            let stage = Stage::new();
            let batch = |keys: [u64; 2], source| keys.map(|key| Item::new(key, source, 0)).to_vec();
            let mut bad = Script::of([batch([1, 4], 1), vec![], batch([6, 8], 1)]);
            match at {
                0..4 => bad.steps.insert(at, Step::Panic),
                4 => bad = bad.close_panics(),
                _ => bad = bad.drop_panics(),
            }
            let good = |source| Script::of([batch([0, 3], source), batch([5, 9], source)]);
            let scripts = [good(0), bad, good(2)].map(|script| script.with_pauses(random, 0.3));
            let mut merge = builder(stage.sources(scripts)).window_rows(2).build();
            let first = run(&stage, seed, &mut merge);
            assert!(matches!(first.end, End::Panicked(_)), "{first:?}");
            assert!(merge.push(stage.source(Script::new())).is_err());
            assert!(run(&stage, seed, &mut merge).finished().iter().all(Result::is_err));
            drop(merge);
            stage.log().assert_released();
            let unclosed = |figures: &losertree_testkit::Figures| figures.dropped_unclosed();
            assert!(
                !stage.log().sources()[..3]
                    .iter()
                    .enumerate()
                    .any(|(at, source)| at != 1 && unclosed(source))
            );
        }
    }
}

/// P13: an order that panics costs the merge, and nothing is left open. So do the functions of the builder.
#[test]
fn an_order_or_a_function_that_panics_leaves_nothing_open() {
    silence_scripted_panics();
    for at in 0..60 {
        let seed = at as u64;
        let random = &mut Random::seed(seed);
        let runs = Runs::<u64>::random(random, 20);
        let stage = Stage::new();
        let sources = stage.sources_of(all_batches(runs.as_slice(), 6, random), random, 0.1);
        let order = By::new(panic_at(at, |a: &Item<u64>, b| a.key.cmp(&b.key)));
        let mut merge = builder(sources).order(order).build();
        let first = run(&stage, seed, &mut merge);
        let items: Vec<_> = first.items.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat();
        let expected = merged(runs.as_slice());
        assert_same(&items, &expected[..items.len()]);
        assert!(items.len() == expected.len() || matches!(first.end, End::Panicked(_)));
        assert!(run(&stage, seed, &mut merge).finished().is_empty());
        stage.log().assert_closed();
    }
    for is_charge in [false, true] {
        let stage = Stage::new();
        let scripts = (0..3).map(|source| Script::of([vec![Item::new(1_u64, source, 0)]]));
        let merge = builder(stage.sources(scripts));
        let mut merge = if is_charge {
            merge.charge_with(|_| -> Result<(), _> { std::panic::resume_unwind(Box::new(())) }).build()
        } else {
            merge.order_check(OrderCheck::Fail, |_, _| std::panic::resume_unwind(Box::new(()))).build()
        };
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(merge.next_window()))).is_err());
        assert!(block_on(merge.next_window()).is_none());
        stage.log().assert_closed();
    }
}

/// P13: batches that are not sorted give each row once, those of a source in their own order. The check of the order finds them.
#[test]
fn unsorted_batches_lose_nothing_and_are_found() {
    fn property(keys: Vec<Vec<u64>>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let run = |(source, keys): (usize, Vec<u64>)| {
            let item = |(at, key)| Item::new(key % 8, source, at);
            keys.into_iter().enumerate().map(item).collect::<Vec<_>>()
        };
        let runs: Vec<_> = keys.into_iter().enumerate().map(run).collect();
        let before = |run: &[Item<u64>], at: usize| at > 0 && run[at].key < run[at - 1].key;
        let out_of_order = |run: &Vec<Item<u64>>| (0..run.len()).filter(|at| before(run, *at)).count() as u64;
        let all = all_batches(&runs, 5, random);
        for check in [None, Some(OrderCheck::Report)] {
            let stage = Stage::new();
            let mut merge = builder(stage.sources_of(all.clone(), random, 0.1));
            if let Some(check) = check {
                merge = merge.order_check(check, |batch, row| vec![batch[row]]);
            }
            let mut merge = merge.window_rows(7).build();
            let items = run_to_end(&stage, seed, &mut merge).concat();
            for (source, run) in runs.iter().enumerate() {
                let of_source: Vec<_> = items.iter().copied().filter(|item| item.source == source).collect();
                assert_same(&of_source, run);
            }
            let found: Vec<_> = merge.stats().sources.iter().map(|source| source.out_of_order).collect();
            let expected = runs.iter().map(|run| if check.is_some() { out_of_order(run) } else { 0 });
            assert_eq!(found, expected.collect::<Vec<_>>());
            stage.log().assert_closed();
        }
        let stage = Stage::new();
        let mut merge = builder(stage.sources_of(all.clone(), random, 0.1))
            .order_check(OrderCheck::Fail, |batch, row| vec![batch[row]])
            .warn()
            .build();
        let mut failed = Vec::new();
        let mut items = Vec::new();
        for next in stage.driver(seed).run(&mut merge).finished() {
            match next.unwrap() {
                Merged::Window(window) => items.extend(window.items().copied()),
                Merged::Warning(warning) => match warning.cause() {
                    Cause::OutOfOrder { position } => {
                        failed.push((warning.path().index().unwrap(), *position));
                    }
                    cause => panic!("{cause:?}"),
                },
            }
        }
        failed.sort_unstable();
        let first = |(source, run): (usize, &Vec<Item<u64>>)| {
            (0..run.len()).find(|at| before(run, *at)).map(|at| (source, at as u64))
        };
        assert_eq!(failed, runs.iter().enumerate().filter_map(first).collect::<Vec<_>>());
        // The batches before the one that is out of order.
        let given = runs.iter().zip(&all).enumerate().map(|(source, (run, batches))| {
            let Some((_, bad)) = first((source, run)) else { return run.clone() };
            let whole = batches.iter().scan(0, |end, batch| {
                *end += batch.len();
                Some(*end)
            });
            run[..whole.take_while(|end| *end as u64 <= bad).last().unwrap_or(0)].to_vec()
        });
        assert_merged(&items, &given.collect::<Vec<_>>());
        stage.log().assert_closed();
        true
    }
    quickcheck(property as fn(Vec<Vec<u64>>, u64) -> bool);
}

fn run_to_end(stage: &Stage, seed: u64, merge: &mut BatchMerge<Scripted<u64>>) -> Vec<Batch<u64>> {
    run(stage, seed, merge).ok()
}

#[test]
fn sources_are_in_the_ledger_by_name_and_in_the_statistics() {
    let ledger = LeakLedger::sites();
    let store = |name: &'static str, batches: Vec<Vec<u64>>| {
        closing(stream::iter(batches.into_iter().map(Ok::<_, TestError>)), |_| async { Ok(()) }).named(name)
    };
    let mut merge = BatchMerge::builder()
        .sources([store("a", vec![vec![1, 2], vec![3]]), store("b", vec![vec![9]])])
        .ledger(&ledger)
        .name("select")
        .times()
        .build();
    let window = block_on(merge.next_window()).unwrap().unwrap().into_window().unwrap();
    assert_eq!(window.batch(0).unwrap().source().name(), Some("a"));
    assert_eq!(ledger.snapshot().open, 2);
    assert!(format!("{merge:?}").contains("select"));
    drop(merge);
    assert_eq!(ledger.snapshot().dropped_unclosed, 2);
    assert_eq!(window.items().copied().collect::<Vec<_>>(), [1, 2]);
}

/// P14: what stands over the merge as a stream finds out that it is closing, and has it closed.
#[test]
fn a_stream_of_windows_is_closed_through_adaptors() {
    let ledger = LeakLedger::sites();
    let merge = |ledger: &LeakLedger| {
        let store =
            |batch: Vec<u64>| closing(stream::iter([Ok::<_, TestError>(batch)]), |_| async { Ok(()) });
        BatchMerge::builder().sources([store(vec![1, 4]), store(vec![2, 3])]).ledger(ledger).build()
    };
    let sum = |next: Merged<Vec<u64>, TestError>| next.into_window().unwrap().items().sum::<u64>();
    let mut above = losertree::ProxyResponseLoserTree::new([from_stream(merge(&ledger).map_ok(sum))]);
    block_on(above.close()).unwrap();
    assert_eq!(ledger.snapshot().closed, 2);
    let mut merge = merge(&ledger).map_ok(sum);
    assert!(!is_closing(&merge));
    while block_on(merge.next()).is_some() {}
    assert!(is_closing(&merge));
    ledger.assert_all_closed();
}

#[test]
fn a_merge_that_is_dropped_is_closed_in_the_background() {
    type Tasks = std::sync::Arc<std::sync::Mutex<Vec<futures::future::BoxFuture<'static, ()>>>>;
    let tasks = Tasks::default();
    let spawned = tasks.clone();
    let closer =
        Closer::new(move |task| spawned.lock().unwrap().push(task), |_| Box::pin(futures::future::pending()));
    let stage = Stage::new();
    let merge = builder(stage.sources([Script::of([vec![Item::new(1_u64, 0, 0)]]), Script::new()])).build();
    let mut merge = CloseOnDrop::new(merge, &closer);
    assert!(block_on(merge.next()).is_some());
    drop(merge);
    let tasks = std::mem::take(&mut *tasks.lock().unwrap());
    tasks.into_iter().for_each(block_on);
    stage.log().assert_closed();
}
