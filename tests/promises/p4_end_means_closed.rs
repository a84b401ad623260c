//! P4: `None` comes only after every source has been closed, and a source that ends or fails is closed at
//! that moment, not at the end.

use futures::StreamExt;
use futures::stream::FusedStream;
use losertree::Labels;
use losertree::ProxyResponseLoserTree;
use losertree::Response;
use losertree::Series;
use losertree::Warning;
use losertree_testkit::{Closing, End, Random, Runs, Script, Stage, Wake, assert_merged};
use quickcheck::quickcheck;

quickcheck! {
    fn the_end_comes_after_every_close(runs: Runs<u64>, seed: u64) -> bool {
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), 0.4);
        let mut merge = ProxyResponseLoserTree::new(sources);
        let run = stage.driver(seed).restless(0.2).run(&mut merge);
        assert_eq!(run.end, End::Finished);
        // Not by dropping the merge: it is still there.
        stage.log().assert_closed();
        assert!(merge.is_terminated());
        assert_merged(&run.ok(), runs.as_slice());
        true
    }
}

/// A source that has ended is closed and dropped while the others go on.
#[test]
fn a_source_is_closed_when_it_ends() {
    let stage = Stage::new();
    let scripts = [Script::of([1]), Script::of([2, 5, 6]), Script::new(), Script::of([3, 4, 7])];
    let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts));
    let released = |stage: &Stage| -> Vec<bool> {
        stage.log().sources().iter().map(|source| source.dropped && !source.dropped_unclosed()).collect()
    };
    let mut driver = stage.driver(0);
    let expected = [
        // (item, which sources have been closed and dropped once it is yielded)
        (1, [true, false, true, false]),
        (2, [true, false, true, false]),
        (3, [true, false, true, false]),
        (4, [true, false, true, false]),
        (5, [true, false, true, false]),
        (6, [true, true, true, false]),
        (7, [true, true, true, true]),
    ];
    for (item, closed) in expected {
        assert_eq!(driver.run_up_to(&mut merge, 1).oks(), [item]);
        assert_eq!(released(&stage), closed, "after {item}");
    }
    assert!(!merge.is_terminated(), "the end has not been seen yet");
    assert_eq!(driver.run(&mut merge).end, End::Finished);
    assert!(merge.is_terminated());
}

/// The closing of a source that takes long does not hold up the items of the others, only the end.
#[test]
fn items_do_not_wait_for_a_close() {
    let stage = Stage::new();
    let slow = Script::of([1]).close_pending(Wake::Later);
    let mut merge = ProxyResponseLoserTree::new(stage.sources([slow, Script::of([2, 3])]));
    futures::executor::block_on(async {
        for item in 1..=3 {
            assert_eq!(merge.next().await, Some(Ok(item)));
        }
    });
    assert_eq!(stage.log().sources()[0].close, Closing::Begun);
    assert_eq!(stage.bell().waiting(), [0]);
    // The end waits.
    assert!(losertree_testkit::poll_times(merge.next(), 3).is_err());
    assert_eq!(stage.driver(0).run(&mut merge).end, End::Finished);
    stage.log().assert_closed();
}

// F31
#[test]
fn a_limit_closes_every_source() {
    for limit in 0..8 {
        let stage = Stage::new();
        let random = &mut Random::seed(limit);
        let scripts: Vec<_> =
            (0..4).map(|i| Script::of([i, i + 1, i + 2]).with_pauses(random, 0.3)).collect();
        let mut merge =
            ProxyResponseLoserTree::builder().sources(stage.sources(scripts)).limit(limit).build();
        let run = stage.driver(limit).run(&mut merge);
        assert_eq!((run.items.len() as u64, run.end.clone()), (limit, End::Finished));
        stage.log().assert_closed();
        if limit == 0 {
            assert!(stage.log().sources().iter().all(|source| source.next_polls == 0));
        }
    }
}

/// F13: what takes no part in the order does not count, and is yielded ahead of the end.
#[test]
fn a_limit_counts_what_takes_part_in_the_order() {
    let series =
        |name| Response::from(Series::new(Labels::from_pairs([("__name__", name)]).unwrap(), vec![]));
    let warning = |text: &str| Response::from(Warning::new(text));
    let stage = Stage::new();
    let mut merge = ProxyResponseLoserTree::builder()
        .sources(stage.sources([
            Script::of([warning("first"), series("a"), warning("second"), series("c")]),
            Script::of([series("b"), warning("third"), series("d")]),
        ]))
        .limit(2)
        .build();
    let items = stage.driver(0).run(&mut merge).ok();
    assert_eq!(items, [warning("first"), series("a"), warning("second"), series("b")]);
    stage.log().assert_closed();
    assert_eq!(merge.stats().items, 4);
}

#[test]
fn no_sources_end_at_once() {
    let mut merge = ProxyResponseLoserTree::new(Stage::new().sources(Vec::<Script<u64>>::new()));
    assert!(!merge.is_terminated());
    assert!(losertree_testkit::poll_times(merge.next(), 1).is_ok_and(|item| item.is_none()));
    assert!(merge.is_terminated());
}

// F52
/// A merge that has ended keeps nothing of the task alive, however often it is polled again.
#[test]
fn a_merge_that_has_ended_keeps_no_waker() {
    use losertree_testkit::CountingWaker;
    use std::task::Context;

    for closes in [false, true] {
        let stage = Stage::new();
        let mut merge = ProxyResponseLoserTree::new(stage.sources([Script::of([1]).pending(Wake::Later)]));
        let task = CountingWaker::new();
        let waker = task.waker();
        let mut cx = Context::from_waker(&waker);
        assert!(merge.poll_next_unpin(&mut cx).is_ready());
        assert!(merge.poll_next_unpin(&mut cx).is_pending());
        stage.bell().ring_all();
        if closes {
            assert!(merge.poll_close_all(&mut cx).is_ready());
        } else {
            assert!(merge.poll_next_unpin(&mut cx).is_ready());
        }
        assert!(merge.is_terminated());
        for _ in 0..3 {
            assert!(merge.poll_next_unpin(&mut cx).is_ready());
            assert!(merge.poll_close_all(&mut cx).is_ready());
        }
        drop(waker);
        assert_eq!(task.kept(), 0, "a waker of the task is still held");
    }
}
