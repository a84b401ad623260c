//! What a merge of `Result`s offers besides its items is what one of plain items does, up to the first error.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use losertree::key::{By, ByKey};
use losertree::{Phase, SourceError, TryMerge, merge, merge_by, merge_by_key, try_merge, try_merge_with};
use losertree_testkit::{Item, Random, Runs, assert_same, merged};
use quickcheck::quickcheck;

use crate::probe::{Books, Probe};

type Items<K> = Vec<Item<K>>;
type Results<K> = Vec<Result<Item<K>, usize>>;

fn natural(a: &Item<String>, b: &Item<String>) -> Ordering {
    a.key.cmp(&b.key)
}

/// The same items, none of which is an error.
fn good<T: Clone>(runs: &[Vec<T>]) -> impl Iterator<Item = Vec<Result<T, usize>>> {
    runs.iter().map(|run| run.iter().cloned().map(Ok).collect())
}

/// The same items, with errors in the place of some.
fn failing(runs: &[Items<String>], places: &[u8]) -> Vec<Results<String>> {
    let place = |source: usize| places.get(source).map(|place| usize::from(*place) % 12);
    let result = |item: &Item<String>| match place(item.source) {
        Some(place) if place == item.sequence => Err(item.source),
        _ => Ok(item.clone()),
    };
    runs.iter().map(|run| run.iter().map(result).collect()).collect()
}

#[test]
fn without_errors_all_is_as_for_plain_items() {
    fn property(runs: Runs<String>, seed: u64) -> bool {
        let runs = runs.as_slice();
        let plain = || runs.to_vec();
        let expected: Result<Items<String>, SourceError<usize>> = Ok(merged(runs));
        assert_eq!(try_merge_with(good(runs), By::new(natural)).collect::<Result<Vec<_>, _>>(), expected);
        let by_key = |item: &Item<String>| item.key.clone();
        assert_eq!(try_merge_with(good(runs), ByKey::new(by_key)).collect::<Result<Vec<_>, _>>(), expected);

        let dedup = try_merge(good(runs)).dedup().map(Result::unwrap);
        assert_same(&dedup.collect::<Vec<_>>(), &merge(plain()).dedup().collect::<Vec<_>>());
        let dedup = try_merge_with(good(runs), By::new(natural)).dedup().map(Result::unwrap);
        assert_same(&dedup.collect::<Vec<_>>(), &merge_by(plain(), natural).dedup().collect::<Vec<_>>());
        let same = |a: &Item<String>, b: &Item<String>| a.key.len() == b.key.len();
        let dedup = try_merge(good(runs)).dedup_by(same).map(Result::unwrap);
        assert_same(&dedup.collect::<Vec<_>>(), &merge(plain()).dedup_by(same).collect::<Vec<_>>());
        let count = |sum: &mut (Item<String>, u32), next: (Item<String>, u32)| sum.1 += next.1;
        let counted: Vec<Vec<_>> =
            plain().into_iter().map(|run| run.into_iter().map(|item| (item, 1)).collect()).collect();
        let key = |pair: &(Item<String>, u32)| pair.0.key.clone();
        let sums = try_merge_with(good(&counted), ByKey::new(key)).coalesce(count).map(Result::unwrap);
        assert!(sums.eq(merge_by_key(counted.clone(), key).coalesce(count)));

        let mut random = Random::seed(seed);
        let mut peeked = try_merge(good(runs));
        for expected in merged(runs) {
            if random.chance(0.5) {
                assert_eq!(peeked.peek(), Some(Ok(&expected)));
            }
            assert_eq!(peeked.next(), Some(Ok(expected)));
        }
        assert_eq!(peeked.peek(), None);
        assert!(peeked.next().is_none());
        true
    }
    quickcheck(property as fn(Runs<String>, u64) -> bool);
}

/// F42: a run that an error has interrupted does not come out, whole runs before it do, and then the error, once. All is
/// released by then.
#[test]
fn an_error_comes_in_place_of_the_run_that_it_interrupts() {
    fn property(runs: Runs<String>, places: Vec<u8>) -> bool {
        let results = failing(runs.as_slice(), &places);
        let mut plain = try_merge(results.clone());
        let items: Items<String> = plain.by_ref().map_while(Result::ok).collect();
        let fails = try_merge(results.clone()).any(|item| item.is_err());
        let mut expected: Vec<Items<String>> =
            items.chunk_by(|a, b| a.key == b.key).map(<[_]>::to_vec).collect();
        if fails {
            expected.pop();
        }
        let books = Books::default();
        let mut dedup = try_merge(books.sources(results)).dedup();
        for run in expected {
            assert_eq!(dedup.next(), Some(Ok(run[0].clone())));
        }
        let last = dedup.next();
        assert_eq!(last.is_some(), fails);
        assert!(last.is_none_or(|last| last.is_err()));
        assert_eq!(books.dropped().len(), runs.sources());
        assert!(dedup.next().is_none());
        assert!(dedup.into_inner().next().is_none());
        true
    }
    quickcheck(property as fn(Runs<String>, Vec<u8>) -> bool);
}

#[test]
fn an_error_that_was_peeked_at_is_yielded_next_and_once() {
    let mut merge = try_merge([vec![Ok(1), Err("gone")], vec![Ok(2)]]);
    assert_eq!(merge.next(), Some(Ok(1)));
    for _ in 0..2 {
        let error = merge.peek().unwrap().unwrap_err();
        assert_eq!((error.path().index(), error.phase()), (Some(0), Some(Phase::Merging)));
    }
    assert_eq!(merge.size_hint(), (1, Some(1)));
    assert_eq!(merge.next().unwrap().unwrap_err().source_error(), Some(&"gone"));
    assert_eq!(merge.peek(), None);
    assert_eq!(merge.next(), None);
    let mut merge = try_merge([vec![Ok(1)], vec![Err("gone")]]);
    assert_eq!(merge.peek().unwrap().unwrap_err().phase(), Some(Phase::Filling));
    assert!(merge.next().unwrap().is_err());
}

/// An error that a block has met and not given comes out of the adaptor too.
#[test]
fn an_error_behind_a_block_is_not_lost() {
    let mut merge = try_merge([vec![Ok(1), Err("gone")], vec![Ok(2)]]);
    let mut block = Vec::new();
    assert_eq!(merge.next_block(&mut block, 10), Ok(1));
    let mut dedup = merge.dedup();
    assert_eq!(dedup.next().unwrap().unwrap_err().source_error(), Some(&"gone"));
    assert_eq!(dedup.next(), None);
}

#[test]
fn a_clone_is_independent() {
    let mut original: TryMerge<_, _, &str, _> = try_merge([vec![Ok(1), Ok(4)], vec![Ok(2), Ok(2)]]);
    original.next();
    original.peek();
    let clone = original.clone();
    assert_eq!(original.collect::<Result<Vec<_>, _>>(), Ok(vec![2, 2, 4]));
    let mut dedup = clone.dedup();
    assert_eq!(dedup.next(), Some(Ok(2)));
    assert_eq!(dedup.clone().collect::<Result<Vec<_>, _>>(), Ok(vec![4]));
    assert_eq!(dedup.collect::<Result<Vec<_>, _>>(), Ok(vec![4]));
}

#[test]
fn the_merge_comes_back_with_all_that_was_not_taken() {
    let mut dedup = merge([vec![1, 1, 4], vec![1, 3]]).dedup();
    assert_eq!(dedup.next(), Some(1));
    assert_eq!(dedup.into_inner().collect::<Vec<_>>(), [3, 4]);
}

/// P15: a source that has ended is not dropped while its item is held, only when that is handed over. With an error the item
/// goes first.
#[test]
fn no_source_is_dropped_while_its_item_is_held() {
    /// An item that is counted until it is dropped.
    #[derive(Debug)]
    struct Lent(u64, Rc<Cell<u32>>);
    impl Lent {
        fn new(key: u64, lent: &Rc<Cell<u32>>) -> Self {
            lent.set(lent.get() + 1);
            Self(key, Rc::clone(lent))
        }
    }
    impl Drop for Lent {
        fn drop(&mut self) {
            self.1.set(self.1.get() - 1);
        }
    }
    /// A source that may fail at its end, and then is not dropped before all that it has lent.
    struct Lender(Probe<u64>, bool, Rc<Cell<u32>>);
    impl Iterator for Lender {
        type Item = Result<Lent, &'static str>;
        fn next(&mut self) -> Option<Self::Item> {
            let item = self.0.next().map(|key| Ok(Lent::new(key, &self.2)));
            item.or_else(|| self.1.then_some(Err("gone")))
        }
    }
    impl Drop for Lender {
        fn drop(&mut self) {
            assert!(!self.1 || self.2.get() == 0, "source {} has lent something", self.0.index);
        }
    }
    for fails in [false, true] {
        let books = Books::default();
        let source = |keys: &[u64], fails: bool| Lender(books.source(keys.to_vec()), fails, Rc::default());
        let sources = vec![source(&[1], false), source(&[1], false), source(&[1, 2], fails)];
        let mut panics = true;
        let mut coalesced =
            try_merge_with(sources, ByKey::new(|item: &Lent| item.0)).coalesce(|_held, next| {
                drop(next);
                assert!(books.dropped().is_empty(), "the source of what is held was dropped");
                assert!(!mem::take(&mut panics), "as asked");
            });
        // A rule that panics changes nothing of that.
        assert!(catch_unwind(AssertUnwindSafe(|| coalesced.next())).is_err());
        assert!(books.dropped().is_empty());
        let first = coalesced.next().unwrap().unwrap();
        assert_eq!((first.0, books.dropped().len()), (1, 2));
        assert_eq!(coalesced.next().unwrap().map(|second| second.0).ok(), (!fails).then_some(2));
        assert_eq!(books.dropped().len(), 3);
        assert!(coalesced.next().is_none());
    }
}

/// Dropped in between, the run at hand goes before the sources.
#[test]
fn what_is_held_is_dropped_before_the_sources() {
    struct Noted(&'static str, Rc<RefCell<Vec<&'static str>>>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }
    let events = Rc::new(RefCell::new(Vec::new()));
    let noted = |what| Noted(what, Rc::clone(&events));
    let source = noted("source");
    let items = [noted("held"), noted("next")].into_iter().inspect(move |_| {
        let _of_the_source = &source;
    });
    let mut merge = merge_by([items], |_, _| Ordering::Equal).dedup_by(|_, _| panic!("as asked"));
    assert!(catch_unwind(AssertUnwindSafe(|| merge.next().is_some())).is_err());
    drop(merge);
    assert_eq!(*events.borrow(), ["held", "next", "source"]);
}
