//! The tournament against a model: a list of heads, of which the smallest is looked for.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use losertree::key::{By, Natural, Order, Reversed};
use losertree::tree::LoserTree;
use losertree_testkit::{Item, TestKey};
use quickcheck::{Arbitrary, Gen, QuickCheck};

/// A key out of a handful, by its number; `None` is no head.
type Raw = Option<u8>;

#[derive(Debug, Clone)]
enum Op {
    Push(Raw),
    Pop,
    /// Takes the winner and brings its successor.
    Replace(Raw),
    /// The source modulo the number of sources and one more, which does not exist.
    SetHead(usize, Raw),
    Winner,
    RunnerUp,
    Settle,
    /// The source modulo the number of sources and one more.
    SettleBefore(usize),
    /// Removes all exhausted sources, and others: each bit stands for every eighth source.
    Retain(u8),
    /// Goes on with a clone, after draining another.
    Clone,
    /// Exhausts all sources, and lets one of them win many times in a row, end, and come back with another
    /// head.
    Streak(usize, Raw),
    /// Gives the winner its own key so many times, so that it wins in a row over others that are live.
    Repeat(u8),
}

/// More wins in a row than are taken for chance in a tree of any size, even where little can be paid for.
const STREAK: usize = 40;

/// More wins in a row than it takes for all comparisons with a runner-up to be paid for.
const LONGEST: u8 = 50;

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let raw = Raw::arbitrary(g);
        match g.choose(&(0..17).collect::<Vec<_>>()).unwrap() {
            0 => Self::Push(raw),
            1 | 2 => Self::Pop,
            3 | 4 => Self::Replace(raw),
            5..=7 => Self::SetHead(usize::arbitrary(g), raw),
            8 => Self::Winner,
            9 => Self::RunnerUp,
            10 => Self::Settle,
            11 => Self::Streak(usize::arbitrary(g), raw),
            12 => Self::Repeat(u8::arbitrary(g) % LONGEST),
            13 | 14 => Self::SettleBefore(usize::arbitrary(g)),
            15 => Self::Retain(u8::arbitrary(g)),
            _ => Self::Clone,
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        match self {
            Self::Push(raw) => Box::new(raw.shrink().map(Self::Push)),
            Self::Replace(raw) => Box::new(raw.shrink().map(Self::Replace)),
            Self::SetHead(source, raw) => {
                let source = *source;
                let raws = raw.shrink().map(move |raw| Self::SetHead(source, raw));
                let raw = *raw;
                Box::new(source.shrink().map(move |source| Self::SetHead(source, raw)).chain(raws))
            }
            Self::Streak(source, raw) => {
                let source = *source;
                Box::new(raw.shrink().map(move |raw| Self::Streak(source, raw)))
            }
            Self::Repeat(times) => Box::new(times.shrink().map(Self::Repeat)),
            Self::Retain(removed) => Box::new(removed.shrink().map(Self::Retain)),
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// The type of key that a test is about: five of its values, in their order.
trait FewKeys: TestKey + PartialEq {
    const FEW: [fn() -> Self; 5];
}

impl FewKeys for u64 {
    const FEW: [fn() -> Self; 5] = [|| 0, || 1, || 2, || u64::MAX - 1, || u64::MAX];
}

/// With codes that are equal for the second to the fourth, and the first to nothing at all.
impl FewKeys for String {
    const FEW: [fn() -> Self; 5] = [
        Self::new,
        || "aaaaaaaa".to_owned(),
        || "aaaaaaaa\0".to_owned(),
        || "aaaaaaaab".to_owned(),
        || "\u{10FFFF}\u{10FFFF}".to_owned(),
    ];
}

/// Of three parts, with differences in the first and at the end of the last.
impl FewKeys for (Vec<u8>, Option<String>) {
    const FEW: [fn() -> Self; 5] = [
        || (Vec::new(), None),
        || (vec![7; 11], None),
        || (vec![7; 11], Some("a".repeat(10))),
        || (vec![7; 11], Some("a".repeat(11))),
        || (vec![7; 12], None),
    ];
}

/// Tree and model side by side.
struct Pair<K, O> {
    tree: LoserTree<Item<K>, O>,
    model: Vec<Option<Item<K>>>,
    compare: fn(&Item<K>, &Item<K>) -> Ordering,
    made: usize,
}

impl<K: FewKeys, O: Order<Item<K>> + Clone> Pair<K, O> {
    fn new(order: O, compare: fn(&Item<K>, &Item<K>) -> Ordering, heads: &[Raw]) -> Self {
        let head = |(source, raw): (usize, &Raw)| raw.map(|raw| item(raw, source, source));
        let model: Vec<_> = heads.iter().enumerate().map(head).collect();
        Self { tree: LoserTree::new(order, model.clone()), made: model.len(), model, compare }
    }

    fn head(&mut self, source: usize, raw: Raw) -> Option<Item<K>> {
        self.made += 1;
        raw.map(|raw| item(raw, source, self.made))
    }

    /// The smallest head but that of `without`; the first among equals.
    fn smallest(&self, without: Option<usize>) -> Option<(usize, Item<K>)> {
        let heads = self.model.iter().enumerate();
        heads
            .filter(|(source, _)| Some(*source) != without)
            .filter_map(|(source, head)| Some((source, head.clone()?)))
            .min_by(|(_, a), (_, b)| (self.compare)(a, b))
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Push(raw) => {
                let source = self.model.len();
                let head = self.head(source, raw);
                self.model.push(head.clone());
                assert_eq!(self.tree.push(head), source);
            }
            Op::Pop => self.pop(),
            Op::Replace(raw) => {
                let Some((source, _)) = self.smallest(None) else { return };
                let head = self.head(source, raw);
                let (winner, _) = self.tree.winner().unwrap();
                assert_eq!(winner, source);
                let taken = std::mem::replace(&mut self.model[source], head.clone());
                assert_eq!(self.tree.set_head(source, head), taken);
            }
            Op::SetHead(source, raw) => {
                let source = source % (self.model.len() + 1);
                let head = self.head(source, raw);
                // A source that does not exist takes no head, and changes nothing.
                let expected = self
                    .model
                    .get_mut(source)
                    .map_or(head.clone(), |place| std::mem::replace(place, head.clone()));
                assert_eq!(self.tree.set_head(source, head), expected);
            }
            Op::Winner => {
                let expected = self.smallest(None);
                let winner = self.tree.winner().map(|(source, head)| (source, head.clone()));
                assert_eq!(winner, expected);
            }
            Op::RunnerUp => {
                let winner = self.smallest(None).map(|(source, _)| source);
                let expected = self.smallest(winner);
                let runner_up = self.tree.runner_up().map(|(source, head)| (source, head.clone()));
                assert_eq!(runner_up, expected);
            }
            Op::Settle => self.tree.settle(),
            Op::SettleBefore(source) => self.tree.settle_before(source % (self.model.len() + 1)),
            Op::Retain(removed) => {
                let heads = self.model.iter().enumerate();
                let is_left: Vec<_> =
                    heads.map(|(source, head)| head.is_some() && removed >> (source % 8) & 1 == 0).collect();
                self.tree.retain(|source| is_left[source]);
                let mut is_left = is_left.into_iter();
                self.model.retain(|_| is_left.next().unwrap());
            }
            Op::Clone => {
                let (original, model) = (self.tree.clone(), self.model.clone());
                self.drain();
                (self.tree, self.model) = (original, model);
            }
            Op::Streak(source, raw) => {
                let source = source % self.model.len().max(1);
                self.drain();
                for _ in 0..STREAK {
                    self.apply(&Op::SetHead(source, Some(0)));
                    self.pop();
                }
                self.apply(&Op::Winner);
                self.apply(&Op::SetHead(source, raw));
            }
            Op::Repeat(times) => {
                for _ in 0..times {
                    let Some((source, head)) = self.smallest(None) else { return };
                    self.made += 1;
                    let head = Some(Item::new(head.key, source, self.made));
                    assert_eq!(self.tree.winner().map(|(source, _)| source), Some(source));
                    let taken = std::mem::replace(&mut self.model[source], head.clone());
                    assert_eq!(self.tree.set_head(source, head), taken);
                }
            }
        }
        assert_eq!((self.tree.heads(), self.tree.sources()), (&*self.model, self.model.len()));
    }

    fn pop(&mut self) {
        let expected = self.smallest(None);
        assert_eq!(self.tree.pop(), expected);
        if let Some((source, _)) = expected {
            self.model[source] = None;
        }
    }

    fn drain(&mut self) {
        while self.smallest(None).is_some() {
            self.pop();
        }
        self.pop();
    }
}

fn item<K: FewKeys>(raw: u8, source: usize, sequence: usize) -> Item<K> {
    Item::new(K::FEW[usize::from(raw) % 5](), source, sequence)
}

fn run<K: FewKeys, O: Order<Item<K>> + Clone>(
    order: O,
    compare: fn(&Item<K>, &Item<K>) -> Ordering,
    heads: &[Raw],
    ops: &[Op],
) {
    let mut pair = Pair::new(order, compare, heads);
    for op in ops {
        pair.apply(op);
    }
    assert_eq!(pair.tree.clone().into_heads(), pair.model);
    pair.drain();
}

fn natural<K: TestKey>(a: &Item<K>, b: &Item<K>) -> Ordering {
    a.key.compare(&b.key)
}

fn turned<K: TestKey>(a: &Item<K>, b: &Item<K>) -> Ordering {
    b.key.compare(&a.key)
}

/// Some of the orders differ only in their codes: exact, inexact, none, and none turned round, where the
/// code of every item is that of an exhausted source.
fn property<K: FewKeys>(heads: Vec<Raw>, ops: Vec<Op>) -> bool {
    run::<K, _>(Natural, natural, &heads, &ops);
    run::<K, _>(By::new(natural::<K>), natural, &heads, &ops);
    run::<K, _>(Reversed(Natural), turned, &heads, &ops);
    run::<K, _>(Reversed(By::new(natural::<K>)), turned, &heads, &ops);
    true
}

#[test]
fn a_tree_is_like_a_list_whose_smallest_is_looked_for() {
    fn check<K: FewKeys>() {
        QuickCheck::new().tests(300).quickcheck(property::<K> as fn(Vec<Raw>, Vec<Op>) -> bool);
    }
    check::<u64>();
    check::<String>();
    check::<(Vec<u8>, Option<String>)>();
}

/// Each change of one head, in each small tree, from each state of the others.
#[test]
fn every_replay_in_small_trees() {
    for sources in 1..=6_u32 {
        // A head is none or one of two keys.
        for state in 0..3_usize.pow(sources) {
            let heads: Vec<Raw> = (0..sources)
                .map(|source| [None, Some(0), Some(4)][state / 3_usize.pow(source) % 3])
                .collect();
            for source in 0..heads.len() {
                for raw in [None, Some(0), Some(4)] {
                    let ops = [Op::RunnerUp, Op::SetHead(source, raw), Op::RunnerUp, Op::Winner];
                    run::<u64, _>(Natural, natural, &heads, &ops);
                }
            }
        }
    }
}

/// Growth at each size, with a replay due and without.
#[test]
fn a_tree_grows_from_nothing() {
    for asked in [Op::Settle, Op::Pop, Op::SetHead(0, Some(3))] {
        for pushed in [Some(0), Some(2), None] {
            let grow =
                |source: u8| [asked.clone(), Op::Push(pushed.map(|raw| raw + source % 2)), Op::RunnerUp];
            let ops: Vec<_> = (0..70).flat_map(grow).collect();
            run::<u64, _>(Natural, natural, &[], &ops);
            run::<String, _>(By::new(natural::<String>), natural, &[Some(1); 3], &ops);
        }
    }
}

/// Two sources, and three in a line, know the runner-up for nothing; a tree that comes of them does not.
#[test]
fn a_streak_ends_after_a_source_has_come() {
    for (heads, pushed) in [(2, None), (2, Some(1)), (3, None), (3, Some(1)), (4, None), (4, Some(1))] {
        for regular in 0..heads {
            let heads: Vec<Raw> =
                (0..heads).map(|source| Some(if source == regular { 0 } else { 2 })).collect();
            for beaten in [Some(3), None] {
                let ops = [
                    Op::Repeat(LONGEST),
                    Op::Push(pushed),
                    Op::Replace(beaten),
                    Op::RunnerUp,
                    Op::Repeat(LONGEST),
                    Op::RunnerUp,
                ];
                run::<u64, _>(Natural, natural, &heads, &ops);
                run::<u64, _>(By::new(natural::<u64>), natural, &heads, &ops);
                run::<String, _>(Natural, natural, &heads, &ops);
            }
        }
    }
}

/// Each state of a small tree whose exhausted sources are removed, and which has another head changed then or grows again.
#[test]
fn what_is_left_is_like_a_tree_of_its_own() {
    for sources in 1..=9_u32 {
        for state in (0..2_usize.pow(sources)).step_by(if sources > 6 { 3 } else { 1 }) {
            let key = u8::try_from(state % 5).unwrap();
            let heads: Vec<Raw> =
                (0..sources).map(|source| (state >> source & 1 == 0).then_some(key)).collect();
            for next in [Op::Push(Some(1)), Op::SetHead(0, Some(3)), Op::SetHead(1, None), Op::Repeat(20)] {
                let ops = [Op::Repeat(20), Op::Retain(0), next.clone(), Op::RunnerUp, next, Op::RunnerUp];
                run::<u64, _>(Natural, natural, &heads, &ops);
                run::<u64, _>(By::new(natural::<u64>), natural, &heads, &ops);
                run::<String, _>(Natural, natural, &heads, &ops);
            }
        }
    }
}

#[test]
fn sources_are_named_to_be_kept() {
    let mut tree = LoserTree::new(Natural, [5_u64, 3, 4, 1, 2].map(Some));
    assert_eq!(tree.pop(), Some((3, 1)));
    let mut asked = Vec::new();
    // Each is named once, in order. Heads of others go with them, and what has been popped is done with.
    tree.retain(|source| {
        asked.push(source);
        source % 2 == 0
    });
    assert_eq!(asked, [0, 1, 2, 3, 4]);
    assert_eq!(tree.heads(), [5, 4, 2].map(Some));
    assert_eq!(tree.winner(), Some((2, &2)));
    assert_eq!(tree.push(Some(0)), 3);
    // Nothing is removed, so nothing changes, not even that a successor is waited for.
    assert_eq!(tree.pop(), Some((3, 0)));
    tree.retain(|_| true);
    tree.set_head(3, Some(4));
    assert_eq!(std::iter::from_fn(|| tree.pop()).collect::<Vec<_>>(), [(2, 2), (1, 4), (3, 4), (0, 5)]);
    tree.retain(|_| false);
    assert_eq!((tree.sources(), tree.winner()), (0, None));
    assert_eq!(tree.push(Some(7)), 0);
    assert_eq!(tree.pop(), Some((0, 7)));
}

/// A head that panics as it is dropped, or a question about a source that does, costs no other head.
#[test]
fn a_panic_while_sources_are_removed_costs_no_head() {
    #[derive(Debug, Clone, PartialEq)]
    struct Bomb(u64, bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.1 || std::thread::panicking(), "a head panics as it is dropped");
        }
    }
    for sources in [1_u64, 3, 4, 5, 9, 17] {
        for panics_at in 0..sources {
            for is_head in [false, true] {
                let order = By::new(|a: &Bomb, b: &Bomb| a.0.cmp(&b.0));
                let heads = (0..sources).map(|key| Some(Bomb(key, is_head && key == panics_at)));
                let mut tree = LoserTree::new(order, heads);
                tree.settle();
                let retain = AssertUnwindSafe(|| {
                    tree.retain(|source| {
                        assert!(is_head || source as u64 != panics_at, "asked for the wrong one");
                        source as u64 > panics_at
                    });
                });
                assert!(catch_unwind(retain).is_err());
                let left = sources - panics_at - u64::from(is_head);
                assert_eq!(tree.sources() as u64, left);
                let first = sources - left;
                for (source, key) in (first..sources).enumerate() {
                    assert_eq!(tree.pop(), Some((source, Bomb(key, false))));
                }
                assert_eq!(tree.pop(), None);
            }
        }
    }
}

#[test]
fn an_empty_tree_has_no_winner() {
    let mut tree: LoserTree<u64, _> = LoserTree::new(Natural, []);
    assert_eq!(tree.winner(), None);
    assert_eq!(tree.runner_up(), None);
    assert_eq!((tree.pop(), tree.sources()), (None, 0));
    assert_eq!(tree.set_head(0, Some(7)), Some(7));
    tree.settle();
    assert_eq!(tree.heads(), []);
    assert_eq!(tree.push(Some(3)), 0);
    assert_eq!(tree.winner(), Some((0, &3)));
    assert_eq!(tree.pop(), Some((0, 3)));
}

/// A winner that has come back is as live as any other: ties go to it by its index.
#[test]
fn a_source_that_comes_back_after_a_streak_wins_ties_as_before() {
    let mut tree = LoserTree::new(Natural, [Some(0_u64), None]);
    for _ in 0..7 {
        assert_eq!(tree.pop(), Some((0, 0)));
        tree.set_head(0, Some(0));
    }
    assert_eq!(tree.pop(), Some((0, 0)));
    assert_eq!(tree.winner(), None);
    tree.set_head(0, Some(5));
    assert_eq!(tree.winner(), Some((0, &5)));
    tree.set_head(1, Some(5));
    assert_eq!(tree.winner(), Some((0, &5)));
}

#[test]
fn the_order_can_be_reached() {
    let mut tree = LoserTree::new(Reversed(Natural), [Some(1_u64), Some(2)]);
    assert_eq!(tree.winner(), Some((1, &2)));
    let Reversed(Natural) = tree.order_mut();
    assert!(format!("{tree:?}").contains("heads"));
}

/// The matches of the worked example in the documentation of the module, in the order in which they are
/// played there.
#[test]
fn the_worked_example() {
    let matches = RefCell::new(Vec::new());
    let played = || std::mem::take(&mut *matches.borrow_mut());
    let order = By::new(|a: &u64, b: &u64| {
        matches.borrow_mut().push((*a.min(b), *a.max(b)));
        a.cmp(b)
    });
    let mut tree = LoserTree::new(order, [4, 2, 7, 3, 9].map(Some));
    assert_eq!(tree.winner(), Some((1, &2)));
    // As the picture has it: 4 loses at node 4, 7 at node 5, 3 at node 2, 9 at node 1.
    assert_eq!(played(), [(2, 4), (3, 7), (2, 3), (2, 9)]);
    // Those that have lost to the winner are 4, 3 and 9.
    assert_eq!(tree.runner_up(), Some((3, &3)));
    assert_eq!(played(), [(3, 4), (3, 9)]);
    // Three comparisons: at nodes 4, 2 and 1.
    assert_eq!(tree.set_head(1, Some(5)), Some(2));
    assert_eq!(tree.winner(), Some((3, &3)));
    assert_eq!(played(), [(4, 5), (3, 4), (3, 9)]);
    // And nothing else has moved: from source 3 the way leads past 7, the 4 that stayed at node 2, and 9.
    tree.set_head(3, Some(8));
    assert_eq!(tree.winner(), Some((0, &4)));
    assert_eq!(played(), [(7, 8), (4, 7), (4, 9)]);
}

/// A streak whose source runs dry before the runner-up is known ends: the source has a head again as anybody has.
#[test]
fn a_streak_ends_with_its_source() {
    for sources in [2, 3, 4, 5, 8, 16, 28, 64] {
        for wins in 0..40 {
            let mut tree = LoserTree::new(By::new(u64::cmp), (0..sources).map(|_| None));
            for key in 0..wins {
                tree.set_head(0, Some(key));
                assert_eq!(tree.pop(), Some((0, key)));
            }
            assert_eq!(tree.winner(), None);
            tree.set_head(0, Some(50));
            assert_eq!(tree.winner(), Some((0, &50)));
            tree.push(Some(50));
            assert_eq!(tree.pop(), Some((0, 50)));
            assert_eq!(tree.pop(), Some((sources, 50)));
        }
    }
}

/// What is known of a runner-up without a code is not taken for one with a code, where a fifth source of strings joins.
#[test]
fn a_runner_up_that_was_asked_about_is_forgotten_where_codes_begin() {
    let heads = ["a", "m", "n", "o"].map(|key| Some(key.to_owned()));
    let mut tree = LoserTree::new(Natural, heads);
    assert_eq!(tree.pop(), Some((0, "a".to_owned())));
    assert!(tree.is_next(&"b".to_owned()));
    tree.push(None);
    assert_eq!(tree.replace_popped(Some("b".to_owned())), Some((0, "b".to_owned())));
}
