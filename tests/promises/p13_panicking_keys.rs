//! P13: keys that are strings of bytes and panic, at every point. Of those the tournament keeps a copy, which is made while
//! items come and go; none of these is lost or repeated.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;

use futures::executor::block_on;
use losertree::key::{ByKey, Coded, OffsetCode, Order};
use losertree::tree::LoserTree;
use losertree::{ProxyResponseLoserTree, SortKey, Source, merge_with};
use losertree_testkit::{Item, Random, Runs, Script, Stage, assert_merged, merged};

use crate::panics::{caught, drained, quiet};
use crate::probe::assert_complete;

type Items = Vec<Item<u64>>;

/// How long a block is, so that all sorts of steps end one.
const BLOCKS: [usize; 3] = [1, 3, 1_000];

/// What panics when it has been asked so often, once or from then on. A handle.
#[derive(Debug, Clone)]
struct Fuse {
    calls: Rc<Cell<usize>>,
    first: usize,
    last: usize,
}

impl Fuse {
    fn new(first: usize, last: usize) -> Self {
        Self { calls: Rc::default(), first, last }
    }

    fn sound() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }

    fn once(n: usize) -> Self {
        Self::new(n, n)
    }

    fn for_ever(n: usize) -> Self {
        Self::new(n, usize::MAX)
    }

    fn ask(&self) {
        let call = self.calls.get() + 1;
        self.calls.set(call);
        assert!(!(self.first..=self.last).contains(&call), "the key panics as asked, in call {call}");
    }

    fn has_blown(&self) -> bool {
        self.calls.get() >= self.first
    }
}

/// A number as two strings of bytes, of which the first has two columns; any question to it may panic.
#[derive(Debug)]
struct Key {
    halves: [Vec<u8>; 2],
    fuse: Fuse,
}

impl Key {
    fn of(item: &Item<u64>, fuse: &Fuse) -> Self {
        let halves = [(item.key / 4).to_be_bytes().to_vec(), vec![(item.key % 4) as u8]];
        Self { halves, fuse: fuse.clone() }
    }
}

impl SortKey for Key {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = false;
    const PARTS: usize = 2;

    fn code(&self) -> u64 {
        self.part(0).code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        (self.part(0), self.part(1)).cmp(&(other.part(0), other.part(1)))
    }

    fn part(&self, index: usize) -> &[u8] {
        self.fuse.ask();
        &self.halves[index]
    }
}

/// The order of the numbers; to take the key out of an item may panic too.
fn order(fuse: &Fuse) -> ByKey<impl FnMut(&Item<u64>) -> Key + use<>> {
    let fuse = fuse.clone();
    ByKey::new(move |item: &Item<u64>| {
        fuse.ask();
        Key::of(item, &fuse)
    })
}

/// Takes until there is no more, and calls again after a panic.
fn persevere<T>(mut next: impl FnMut() -> Option<T>) -> Vec<T> {
    let mut out = Vec::new();
    loop {
        match caught(&mut next) {
            Some(Some(item)) => out.push(item),
            Some(None) => return out,
            None => {}
        }
    }
}

/// Calls a check with small runs, and each number up to that of the questions that a merge asks keys of them.
fn for_each_question(check: impl Fn(&Runs<u64>, usize)) {
    quiet();
    let mut all = vec![
        Runs::from_keys(vec![vec![1, 4], vec![2, 2], vec![], vec![2, 9], vec![0, 5]]),
        Runs::from_keys(vec![vec![3; 2]; 9]),
        // Items of a source that keeps winning go past the tournament. Of most, only the first half is another than that of the one before.
        Runs::from_keys(vec![
            vec![90, 91],
            vec![91],
            (1..25).map(|key| 4 * key).collect(),
            vec![92],
            vec![95],
        ]),
    ];
    all.extend((0..8).map(|seed| Runs::random(&mut Random::seed(seed), 9)));
    for runs in all {
        let sound = Fuse::sound();
        assert_eq!(merge_with(runs.clone().into_vec(), order(&sound)).count(), runs.items());
        for n in 1..=sound.calls.get() {
            check(&runs, n);
        }
    }
}

#[test]
fn a_merge_goes_on_after_its_key_panicked() {
    for_each_question(|runs, n| {
        let fuse = Fuse::once(n);
        let mut merge = merge_with(runs.as_slice().to_vec(), order(&fuse));
        assert_merged(&persevere(|| merge.next()), runs.as_slice());
        assert!(fuse.has_blown());

        for most in BLOCKS {
            let fuse = Fuse::once(n);
            let mut merge = merge_with(runs.as_slice().to_vec(), order(&fuse));
            let mut out = Vec::new();
            persevere(|| (merge.next_block(&mut out, most) > 0).then_some(()));
            assert_merged(&out, runs.as_slice());
        }
    });
}

/// Nor is what items are told of the ones before them wrong then.
#[test]
fn a_coded_merge_goes_on_after_its_key_panicked() {
    for_each_question(|runs, n| {
        let mut merge = merge_with(runs.as_slice().to_vec(), order(&Fuse::once(n))).coded();
        let out = persevere(|| merge.next());
        let key = |coded: &Coded<Item<u64>>| Key::of(&coded.item, &Fuse::sound());
        for pair in out.windows(2) {
            let code = pair[1].code;
            let is_right = OffsetCode::after(&key(&pair[0]), &key(&pair[1])) == Some(code);
            assert!(is_right || code == OffsetCode::UNKNOWN, "{pair:?}");
        }
        let items: Vec<_> = out.into_iter().map(|coded| coded.item).collect();
        assert_merged(&items, runs.as_slice());
    });
}

#[test]
fn a_merge_whose_key_panics_for_ever_gives_all_back() {
    for_each_question(|runs, n| {
        let mut merge = merge_with(runs.as_slice().to_vec(), order(&Fuse::for_ever(n)));
        let mut out = Vec::new();
        while let Some(next) = caught(|| merge.next()) {
            out.push(next.expect("it panics before the end"));
        }
        assert_eq!(out, merged(runs.as_slice())[..out.len()]);
        // Asking again neither helps nor harms.
        assert!(caught(|| merge.peek().copied()).is_none());
        out.extend(merge.into_sources().into_iter().flat_map(|it| it.head.into_iter().chain(it.source)));
        assert_complete(&out, runs.as_slice());
    });
}

/// Where heads get codes as more sources join, they get them later.
#[test]
fn a_source_joins_a_tree_without_asking_keys() {
    for_each_question(|runs, n| {
        let fuse = Fuse::once(n);
        let mut sources: Vec<_> = runs.as_slice().iter().map(|run| run.iter().copied()).collect();
        let half = sources.len() / 2;
        let heads: Vec<_> = sources[..half].iter_mut().map(Iterator::next).collect();
        let mut tree = LoserTree::new(order(&fuse), heads);
        for source in &mut sources[half..] {
            caught(|| tree.settle());
            let head = source.next();
            caught(|| tree.push(head)).expect("no question");
        }
        let out = persevere(|| {
            let source = tree.winner()?.0;
            tree.set_head(source, sources[source].next())
        });
        assert_merged(&out, runs.as_slice());
    });
}

/// Once the winner is known, its head can be taken and a successor brought without a question to the key.
#[test]
fn a_tree_takes_and_brings_heads_without_asking_keys() {
    for_each_question(|runs, n| {
        for fuse in [Fuse::once(n), Fuse::for_ever(n)] {
            let mut sources: Vec<_> = runs.as_slice().iter().map(|run| run.iter().copied()).collect();
            let heads: Vec<_> = sources.iter_mut().map(Iterator::next).collect();
            let mut tree = LoserTree::new(order(&fuse), heads);
            let mut out = Vec::new();
            let mut patience = 2;
            while patience > 0 {
                let Some(winner) = caught(|| tree.winner().map(|(source, head)| (source, *head))) else {
                    patience -= 1;
                    continue;
                };
                let Some((source, item)) = winner else { break };
                let calls = fuse.calls.get();
                assert_eq!(tree.set_head(source, sources[source].next()), Some(item));
                assert_eq!(fuse.calls.get(), calls);
                out.push(item);
            }
            if fuse.last == n {
                assert_merged(&out, runs.as_slice());
            }
            out.extend(tree.into_heads().into_iter().flatten());
            out.extend(sources.into_iter().flatten());
            assert_complete(&out, runs.as_slice());
        }
    });
}

/// Merges until the key panics, or to the end; `None` is by single items. Returns what came until then.
fn merged_until_panic<S, O>(merge: &mut ProxyResponseLoserTree<S, O>, block: Option<usize>) -> Items
where
    S: Source<Item = Item<u64>, Error: std::fmt::Debug> + Unpin,
    O: Order<Item<u64>>,
{
    let mut out = Vec::new();
    let _ended = caught(|| {
        block_on(async {
            if let Some(most) = block {
                while merge.next_ready(&mut out, most).await.unwrap() > 0 {}
            } else {
                while let Some(next) = merge.next_with_source().await {
                    out.push(next.unwrap().1);
                }
            }
        });
    });
    out
}

#[test]
fn an_async_merge_whose_key_panics_gives_all_back_or_closes_all() {
    for_each_question(|runs, n| {
        for block in BLOCKS.map(Some).into_iter().chain([None]) {
            for gives_back in [false, true] {
                let stage = Stage::new();
                let fuse = Fuse::for_ever(n);
                let sources = stage.sources(runs.as_slice().iter().map(|run| Script::of(run.clone())));
                let mut merge =
                    ProxyResponseLoserTree::builder().sources(sources).order(order(&fuse)).build();
                let mut out = merged_until_panic(&mut merge, block);
                if !fuse.has_blown() {
                    // A sync merge asks a few questions more.
                    assert!(n > runs.items());
                    assert_complete(&out, runs.as_slice());
                    continue;
                }
                assert_eq!(out, merged(runs.as_slice())[..out.len()]);
                if gives_back {
                    for it in merge.into_sources() {
                        out.extend(it.head);
                        out.extend(drained(it.source));
                    }
                    assert_complete(&out, runs.as_slice());
                } else {
                    block_on(merge.close()).unwrap();
                    stage.log().assert_closed();
                }
            }
        }
    });
}

/// The winner is known and its head not taken when the merge is closed, whose key panics from then on.
#[test]
fn to_close_asks_no_key() {
    quiet();
    let stage = Stage::new();
    let runs = Runs::from_keys(vec![vec![1, 6], vec![2], vec![3], vec![4], vec![5]]);
    let mut scripts = runs.as_slice().iter();
    let first = scripts.next().map(|run| Script::of(run[..1].to_vec()).panic()).unwrap();
    let sources = stage.sources([first].into_iter().chain(scripts.map(|run| Script::of(run.clone()))));
    let fuse = Fuse::sound();
    let mut merge = ProxyResponseLoserTree::builder().sources(sources).order(order(&fuse)).build();
    assert!(caught(|| block_on(merge.next_with_source())).is_none(), "the first source panics");
    let calls = fuse.calls.get();
    block_on(merge.close()).unwrap();
    assert_eq!(fuse.calls.get(), calls);
    stage.log().assert_released();
}
