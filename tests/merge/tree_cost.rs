//! P10 where sources come, go and change: a path for each head that changes, and a cost that depends on the sources that are
//! there, not on those that ever were.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;

use allocation_counter::measure;
use losertree::SortKey;
use losertree::key::{By, ByOffsetCode, Coded, Natural, OffsetCode, Order};
use losertree::tree::LoserTree;
use losertree_testkit::{Comparisons, CountedKey, Random};

type CountCompare = Box<dyn FnMut(&u64, &u64) -> Ordering>;

/// ⌈log2 K⌉.
fn levels(sources: usize) -> usize {
    sources.next_power_of_two().ilog2() as usize
}

/// Heads come one by one, as in a merge that waits for its sources: at first until all are there, and later a few.
#[test]
fn a_path_for_each_of_several_heads() {
    for sources in [0, 1, 2, 3, 5, 8, 16, 33, 100, 1000] {
        let comparisons = Comparisons::new();
        let mut tree = LoserTree::new(Natural, (0..sources).map(|_| None));
        let mut random = Random::seed(2);
        let mut set = |tree: &mut LoserTree<CountedKey, Natural>, source, most: usize| {
            tree.settle_before(source);
            let taken = comparisons.take();
            assert!(taken <= most, "K = {}: {taken}", tree.sources());
            tree.set_head(source, random.chance(0.8).then(|| comparisons.key(random.below(50) as u64)));
        };
        for source in 0..sources {
            // Nobody has asked for the winner yet.
            set(&mut tree, source, 0);
        }
        tree.settle();
        assert!(comparisons.take() <= if sources == 3 { 3 } else { sources.saturating_sub(1) });
        for round in 0..sources.min(200) {
            let source = round * 7 % sources;
            set(&mut tree, source, levels(sources));
            // A second thought about the same source is no other head.
            let mut same = tree.clone();
            set(&mut same, source, 0);
        }
        for source in sources..sources + 100 {
            tree.settle_before(source);
            assert!(comparisons.take() <= levels(source));
            tree.push(Some(comparisons.key(source as u64 % 50)));
        }
        tree.winner();
        assert!(comparisons.take() <= levels(sources + 100));
    }
}

/// A number as bytes, which counts how often it is read.
#[derive(Debug, Clone)]
struct Bytes {
    bytes: [u8; 12],
    reads: Rc<Cell<usize>>,
}

impl SortKey for Bytes {
    const CODE_BITS: u32 = 0;
    const EXACT: bool = false;
    const PARTS: usize = 1;

    fn code(&self) -> u64 {
        0
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.part(0).cmp(other.part(0))
    }

    fn part(&self, _index: usize) -> &[u8] {
        self.reads.update(|reads| reads + 1);
        &self.bytes
    }
}

/// What a tree of some order is made of.
struct Making<T, O> {
    order: O,
    head: Box<dyn Fn(u64) -> T>,
    /// How many comparisons there were since this was last asked.
    taken: Box<dyn Fn() -> usize>,
}

fn numbers() -> Making<u64, By<CountCompare>> {
    let comparisons = Comparisons::new();
    let order: CountCompare = Box::new(comparisons.counting(u64::cmp));
    Making { order: By::new(order), head: Box::new(|key| key), taken: Box::new(move || comparisons.take()) }
}

/// A comparison reads both keys, and the greater one once more for its code. One key is read to keep it.
fn bytes() -> Making<Bytes, Natural> {
    let reads = Rc::new(Cell::new(0));
    let made = Rc::clone(&reads);
    let head = move |key: u64| {
        let mut bytes = *b"abcd\0\0\0\0\0\0\0\0";
        bytes[4..].copy_from_slice(&key.to_be_bytes());
        Bytes { bytes, reads: Rc::clone(&made) }
    };
    Making { order: Natural, head: Box::new(head), taken: Box::new(move || reads.take() / 3) }
}

/// Of which it is not known how they differ from the ones before.
fn coded() -> Making<Coded<Bytes>, ByOffsetCode> {
    let Making { head, taken, .. } = bytes();
    let head = move |key| Coded { item: head(key), code: OffsetCode::UNKNOWN };
    Making { order: ByOffsetCode, head: Box::new(head), taken }
}

/// Also where heads are compared by their bytes, and where sources go backwards.
#[test]
fn a_path_for_each_head_whatever_it_is() {
    fn check<T, O: Order<T>>(Making { order, head, taken }: Making<T, O>, sources: usize) {
        let mut random = Random::seed(sources as u64);
        let mut tree = LoserTree::new(order, (0..sources).map(|_| Some(head(random.next_u64()))));
        tree.settle();
        taken();
        // Besides the path, one with the item before, and what a streak has saved; and once all of them, where offset-value codes
        // begin.
        let mut has_begun = false;
        let mut assert_path = |sources| {
            let (mut taken, path) = (taken(), levels(sources));
            if taken > 3 * path + 2 && !has_begun {
                has_begun = true;
                taken = taken.saturating_sub(sources);
            }
            assert!(taken <= 3 * path + 2, "K = {sources}: {taken}");
            taken
        };
        let (mut sum, rounds) = (0, 500);
        for round in 0..rounds {
            let source = random.below(tree.sources());
            tree.settle_before(source);
            sum += assert_path(tree.sources());
            tree.set_head(source, random.chance(0.8).then(|| head(random.next_u64())));
            if round % 3 == 0 {
                // Mostly backwards: the winner is followed by anything.
                if let Some((source, _)) = tree.pop() {
                    sum += assert_path(tree.sources());
                    tree.set_head(source, Some(head(random.next_u64())));
                    tree.settle();
                    sum += assert_path(tree.sources());
                }
            }
            if round % 5 == 0 {
                tree.settle_before(tree.sources());
                tree.push(Some(head(random.next_u64())));
            }
        }
        let most = rounds * 2 * (levels(tree.sources()) + 1);
        assert!(sum <= most, "{sum}, not {most}");
    }
    for sources in [8, 16, 33, 100, 1000] {
        check(numbers(), sources);
        check(bytes(), sources);
        check(coded(), sources);
    }
}

/// Sources with one item or two come and go, while `open` are there.
fn come_and_go<T, O: Order<T>>(Making { order, head, taken }: Making<T, O>, sources: u64, open: usize) {
    const MOST_LEAVES: usize = 8;
    let mut keys = 0..;
    let mut next = || keys.next().map(&head);
    let mut tree = LoserTree::new(order, (0..open).map(|_| next()));
    tree.settle();
    taken();
    let (mut gone, mut window, mut first) = (0, 0, None);
    for pushed in 1..=sources {
        let source = tree.sources();
        tree.settle_before(source);
        assert_eq!(tree.push(next()), source);
        let (source, _) = tree.pop().unwrap();
        if pushed % 5 == 0 {
            tree.set_head(source, next());
            tree.pop();
        }
        gone += 1;
        if 2 * gone > tree.sources() {
            let is_left: Vec<_> = tree.heads().iter().map(Option::is_some).collect();
            tree.retain(|source| is_left[source]);
            gone = 0;
        }
        tree.settle();
        assert!(tree.sources() <= MOST_LEAVES, "{} leaves", tree.sources());
        // The paths of one that joins and of one or two that are taken, and all matches of those that are left.
        let taken = taken();
        assert!(taken <= 3 * (levels(MOST_LEAVES) + 1) + open, "{taken} for push {pushed}");
        window += taken;
        if pushed % (sources / 10) == 0 {
            let first = *first.get_or_insert(window);
            assert!(window <= first + first / 50, "{window} after {pushed} pushes, {first} at first");
            window = 0;
        }
    }
}

#[test]
fn the_last_of_a_million_sources_that_come_and_go_costs_what_the_first_did() {
    come_and_go(numbers(), 1_000_000, 2);
    for open in 0..3 {
        come_and_go(numbers(), 50_000, open);
        come_and_go(bytes(), 50_000, open);
        come_and_go(coded(), 50_000, open);
    }
}

#[test]
fn memory_is_that_of_the_sources_that_are_there() {
    // A head, and a node of two numbers.
    const LEAF_BYTES: u64 = 32;
    for (ever, left) in [(100, 3), (1_000, 500), (100_000, 1), (100_000, 0)] {
        let mut tree = LoserTree::new(Natural, []);
        let grown = measure(|| {
            for key in 0..ever {
                tree.push(Some(key));
            }
        });
        assert!(grown.bytes_current >= i64::try_from(ever * LEAF_BYTES).unwrap(), "{grown:?}");
        let shrunk = measure(|| tree.retain(|source| (source as u64) < left));
        // The leaves of a tree, and room for as many again.
        let most = 2 * left.next_power_of_two() * LEAF_BYTES;
        let kept = grown.bytes_current + shrunk.bytes_current;
        assert!(kept <= i64::try_from(most).unwrap(), "{kept} bytes for {left} of {ever}");
        // There is room for those that come while others go.
        let come_and_gone = measure(|| {
            for key in 0..100 {
                for _ in 0..left {
                    tree.push(Some(key));
                }
                tree.retain(|source| (source as u64) < left);
            }
        });
        assert_eq!(come_and_gone.count_total, 0, "{come_and_gone:?}");
    }
}
