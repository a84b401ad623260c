//! The tournament by offset-value codes against a list of heads, by random operations: who wins, and what codes say.

use std::fmt::Debug;

use losertree::SortKey;
use losertree::key::{ByOffsetCode, Coded, Natural, OffsetCode, Order};
use losertree::tree::LoserTree;
use losertree_testkit::{Domain, Item, Random, TestKey};

/// What the tree is made of: items, with their codes or without.
trait Head<K>: Clone + Debug {
    fn make(item: Item<K>, code: OffsetCode) -> Self;
    fn item(&self) -> &Item<K>;
    fn code(&self) -> Option<OffsetCode>;
}

impl<K: TestKey> Head<K> for Item<K> {
    fn make(item: Self, _code: OffsetCode) -> Self {
        item
    }

    fn item(&self) -> &Self {
        self
    }

    fn code(&self) -> Option<OffsetCode> {
        None
    }
}

impl<K: TestKey> Head<K> for Coded<Item<K>> {
    fn make(item: Item<K>, code: OffsetCode) -> Self {
        Self { item, code }
    }

    fn item(&self) -> &Item<K> {
        &self.item
    }

    fn code(&self) -> Option<OffsetCode> {
        Some(self.code)
    }
}

/// Which heads have changed since the last question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    None,
    One(usize),
    All,
}

struct Pair<K, T, O> {
    tree: LoserTree<T, O>,
    model: Vec<Option<Item<K>>>,
    /// The last head that each source was given.
    given: Vec<Option<Item<K>>>,
    /// The head that was taken last.
    taken: Option<Item<K>>,
    changed: Changed,
    made: usize,
    random: Random,
    domain: Domain,
}

impl<K: TestKey, T: Head<K>, O: Order<T> + Clone> Pair<K, T, O> {
    fn new(order: O, sources: usize, seed: u64) -> Self {
        let mut random = Random::seed(seed);
        let domain = Domain::ALL[random.below(3)];
        Self {
            tree: LoserTree::new(order, (0..sources).map(|_| None)),
            model: vec![None; sources],
            given: vec![None; sources],
            taken: None,
            changed: Changed::All,
            made: 0,
            random,
            domain,
        }
    }

    /// A head that mostly comes after the one before of its source, and its code against that.
    fn head(&mut self, source: usize) -> Option<T> {
        if self.random.chance(0.1) {
            return None;
        }
        let mut key = K::generate(&mut self.random, self.domain);
        let before = self.given.get(source).cloned().flatten();
        if let Some(before) = &before {
            if self.random.chance(0.3) {
                key = before.key.clone();
            }
            // Close to it, if there is one.
            for _ in 0..self.random.below(5) {
                let other = K::generate(&mut self.random, self.domain);
                let is_ahead = !other.compare(&before.key).is_lt();
                if is_ahead && (key.compare(&before.key).is_lt() || other.compare(&key).is_lt()) {
                    key = other;
                }
            }
            if key.compare(&before.key).is_lt() && self.random.chance(0.9) {
                key = before.key.clone();
            }
        }
        self.made += 1;
        let item = Item::new(key, source, self.made);
        let code = before.and_then(|before| OffsetCode::after(&before, &item));
        let code = code.filter(|_| self.random.chance(0.95)).unwrap_or(OffsetCode::UNKNOWN);
        if source < self.given.len() {
            self.given[source] = Some(item.clone());
        }
        Some(T::make(item, code))
    }

    fn smallest(&self, without: Option<usize>) -> Option<(usize, &Item<K>)> {
        let heads = self.model.iter().enumerate().filter(|(source, _)| Some(*source) != without);
        let heads = heads.filter_map(|(source, head)| Some((source, head.as_ref()?)));
        heads.min_by(|(_, a), (_, b)| a.compare(b))
    }

    fn winner(&self) -> Option<usize> {
        Some(self.smallest(None)?.0)
    }

    fn assert_is(&self, found: Option<(usize, (usize, usize))>, without: Option<usize>) {
        let expected = self.smallest(without).map(|(source, item)| (source, item.identity()));
        assert_eq!(found, expected, "{:?}", self.model);
    }

    fn note_taken(&mut self, head: &T) {
        if let Some(code) = head.code() {
            let expected = self.taken.as_ref().and_then(|taken| OffsetCode::after(taken, head.item()));
            assert!(
                code == OffsetCode::UNKNOWN || Some(code) == expected,
                "{code:?} and not {expected:?}: {head:?} after {:?}",
                self.taken
            );
        }
        self.taken = Some(head.item().clone());
    }

    fn pop(&mut self) -> Option<usize> {
        let popped = self.tree.pop();
        self.assert_is(popped.as_ref().map(|(source, head)| (*source, head.item().identity())), None);
        self.changed = Changed::None;
        let (source, head) = popped?;
        self.change(source);
        self.model[source] = None;
        self.note_taken(&head);
        Some(source)
    }

    fn change(&mut self, source: usize) {
        self.changed = match self.changed {
            Changed::None => Changed::One(source),
            Changed::One(other) if other == source => Changed::One(source),
            _ => Changed::All,
        };
    }

    /// Has what is due played before another head changes, or not.
    fn settle_before(&mut self, source: usize) {
        if self.random.chance(0.5) {
            self.tree.settle_before(source);
            if matches!(self.changed, Changed::One(other) if other != source) {
                self.changed = Changed::None;
            }
        }
    }

    fn set(&mut self, source: usize, head: Option<T>) {
        self.settle_before(source);
        let winner = self.winner();
        let item = head.as_ref().map(|head| head.item().clone());
        let old = self.tree.set_head(source, head);
        let expected = std::mem::replace(&mut self.model[source], item);
        assert_eq!(old.as_ref().map(|old| old.item().identity()), expected.map(|item| item.identity()));
        if self.changed == Changed::None
            && winner == Some(source)
            && let Some(old) = old
        {
            self.note_taken(&old);
        }
        self.change(source);
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0 if self.model.len() < 80 => {
                let source = self.model.len();
                self.given.push(None);
                let head = self.head(source);
                self.model.push(head.as_ref().map(|head| head.item().clone()));
                self.settle_before(source);
                let is_live = head.is_some();
                assert_eq!(self.tree.push(head), source);
                if is_live {
                    self.change(source);
                }
            }
            1..=7 => {
                for _ in 0..self.random.below(12) {
                    let Some(source) = self.pop() else { return };
                    let head = self.head(source);
                    self.set(source, head);
                }
            }
            8..=10 => {
                let Some((source, head)) = self.tree.winner() else { return };
                let identity = head.item().identity();
                self.assert_is(Some((source, identity)), None);
                self.changed = Changed::None;
                let head = self.head(source);
                self.set(source, head);
            }
            11 => {
                if !self.model.is_empty() {
                    let source = self.random.below(self.model.len());
                    let head = self.head(source);
                    self.set(source, head);
                }
            }
            12 => drop(self.pop()),
            13 => {
                let runner_up = self.tree.runner_up().map(|(source, head)| (source, head.item().identity()));
                self.assert_is(runner_up, self.winner());
                self.changed = Changed::None;
            }
            14 => {
                self.tree.settle();
                self.changed = Changed::None;
            }
            15 => self.tree = self.tree.clone(),
            17 if self.random.chance(0.3) => {
                // Those that have ended, or most of them.
                let most = self.random.chance(0.5);
                let is_left: Vec<_> =
                    self.model.iter().map(|head| head.is_some() || most && self.random.chance(0.2)).collect();
                self.tree.retain(|source| is_left[source]);
                let is_removed = is_left.contains(&false);
                for sources in [&mut self.model, &mut self.given] {
                    let mut is_left = is_left.iter();
                    sources.retain(|_| *is_left.next().unwrap());
                }
                if is_removed {
                    self.changed = Changed::All;
                }
            }
            16 if self.random.chance(0.1) => while self.pop().is_some() {},
            _ => {
                // One source wins many times in a row, with keys that are equal or grow slowly.
                let Some(source) = self.pop() else { return };
                for _ in 0..self.random.below(30) {
                    let Some(taken) = self.taken.clone() else { return };
                    self.made += 1;
                    let item = Item::new(taken.key, source, self.made);
                    let known = self.given[source].replace(item.clone());
                    let code = known.and_then(|known| OffsetCode::after(&known, &item));
                    self.set(source, Some(T::make(item, code.unwrap_or(OffsetCode::UNKNOWN))));
                    if self.pop() != Some(source) {
                        return;
                    }
                }
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..100 {
            self.step();
            if self.random.chance(0.3) {
                let winner = self.tree.winner().map(|(source, head)| (source, head.item().identity()));
                self.assert_is(winner, None);
                self.changed = Changed::None;
            }
        }
        while self.pop().is_some() {}
    }
}

fn check<K: TestKey>() {
    for seed in 0..300 {
        let sources = Random::seed(seed ^ 0x5555).below(40);
        Pair::<K, Item<K>, _>::new(Natural, sources, seed).run();
        Pair::<K, Coded<Item<K>>, _>::new(ByOffsetCode, sources, seed).run();
    }
}

#[test]
fn a_tree_by_codes_is_like_a_list_whose_smallest_is_looked_for() {
    check::<String>();
    check::<Vec<u8>>();
    check::<(Vec<u8>, Option<String>)>();
}

/// A source that has won often waits while others win, and another head changes. What that was before is gone
/// then, and codes of it are not to be taken for those of the new one.
#[test]
fn a_streak_goes_on_beside_a_head_that_has_changed() {
    let (regular, changed, behind, winner) = (0, 2, 3, 7);
    let key = |end: &str| Some(format!("aaaaaaaaaa{end}"));
    let mut heads = vec![Some("zz".to_owned()); 8];
    heads[regular] = key("");
    heads[changed] = key("11111s");
    heads[behind] = key("11111y");
    heads[winner] = key("02");
    let mut tree = LoserTree::new(Natural, heads);
    let mut next = |source: usize, head: Option<String>| {
        assert_eq!(tree.pop().map(|(winner, _)| winner), Some(source));
        tree.set_head(source, head);
    };
    // Twice in a row, since the first time it goes back as soon as it is beaten.
    (0..20).for_each(|_| next(regular, key("")));
    next(regular, key("03"));
    next(winner, key("05"));
    (0..20).for_each(|_| next(regular, key("04")));
    next(regular, key("11111f"));
    // It waits. What it has in common with the others is known to be as much as what the one that changes had.
    assert_eq!(tree.winner(), Some((winner, &"aaaaaaaaaa05".to_owned())));
    tree.set_head(changed, Some("z".to_owned()));
    let order: Vec<_> = std::iter::from_fn(|| tree.pop()).map(|(source, _)| source).collect();
    assert_eq!(order, [winner, regular, behind, changed, 1, 4, 5, 6]);
}

#[test]
fn to_ask_what_is_next_changes_no_code() {
    let key = |end: &str| format!("they all begin so {end}");
    // As many items as it takes for the tree to go over to offset-value codes.
    let mut numbers = (0..).map(|number| key(&format!("{number:06}")));
    let mut tree: LoserTree<String, _> = LoserTree::new(Natural, numbers.by_ref().take(8).map(Some));
    for number in numbers.take(500) {
        let Some((source, _)) = tree.pop() else { return };
        tree.set_head(source, Some(number));
    }
    // Two losers on the way of the winner have one code, and the better of them meets it first. That one has beaten another.
    let ends = ["a", "x", "bbbbbbbb1", "bbbbbbbb5", "bbbbbbbb2", "x", "x", "x"];
    for (source, end) in ends.into_iter().enumerate() {
        tree.set_head(source, Some(key(end)));
    }
    assert_eq!(tree.pop(), Some((0, key("a"))));
    assert!(!tree.is_next(&key("c")));
    for (successor, source, end) in [("c", 2, "bbbbbbbb1"), ("y", 4, "bbbbbbbb2"), ("y", 3, "bbbbbbbb5")] {
        assert_eq!(tree.replace_popped(Some(key(successor))), Some((source, key(end))));
    }
}
