//! Operations on a [`LoserTree`] against its model: a list of heads, of which the smallest is looked for.
#![no_main]

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use losertree::SortKey;
use losertree::key::{By, ByKey, Natural, Order, Reversed};
use losertree::tree::LoserTree;
use losertree_fuzz::{Key, Kind, let_scripted_panics_unwind, scripted_panic, unless_it_panics, with_keys};
use losertree_testkit::{Comparisons, Item};

/// How many sources a tree begins with at most; two more levels than 32 leaves have.
const MOST_HEADS: usize = 130;

#[derive(Debug, Arbitrary)]
struct Input {
    kind: Kind,
    order: OrderKind,
    heads: Vec<Option<u8>>,
    ops: Vec<Op>,
    end: End,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum OrderKind {
    Natural,
    Reversed,
    ByKey,
    By,
    /// A comparator that says anything.
    Inconsistent(u8),
    /// A comparator that panics each time it has been called so often.
    Panicking(u8),
    /// A key that panics each time it has been asked so often for its code, a part or a comparison.
    PanickingKey(u8),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Op {
    Pop,
    /// Replaces the winner's head.
    Advance(Option<u8>),
    /// Pops, and brings the successor and pops in one step; before that it may be asked whether the successor is next.
    Replace {
        head: Option<u8>,
        asks: bool,
    },
    SetHead {
        source: u8,
        head: Option<u8>,
    },
    /// Sets the head of a source that does not exist.
    SetNoHead(Option<u8>),
    Push(Option<u8>),
    Winner,
    RunnerUp,
    Settle,
    /// Of one of the sources, or the next one that joins.
    SettleBefore(u8),
    /// Removes exhausted sources, or those of them whose bit is set; each bit stands for every eighth source. Heads go too where
    /// that is asked for.
    Retain {
        removed: u8,
        with_heads: bool,
    },
    /// Goes on with a clone.
    Clone,
    /// Exhausts all sources, and lets one of them win many times in a row, end, and come back with another
    /// head.
    Streak {
        source: u8,
        byte: u8,
        head: Option<u8>,
    },
    /// Gives the winner its own key again and again, so that it wins in a row over others that are live.
    Repeat(u8),
}

/// More wins in a row than are taken for chance in a tree of any size, even where little can be paid for.
const STREAK: usize = 40;

#[derive(Debug, Clone, Copy, Arbitrary)]
enum End {
    PopAll,
    IntoHeads,
    Drop,
}

fuzz_target!(init: let_scripted_panics_unwind(), |input: Input| with_keys!(input.kind, play(&input)));

fn play<K: Key>(input: &Input) {
    let by_key = |a: &Item<K>, b: &Item<K>| a.key.compare(&b.key);
    match input.order {
        OrderKind::Natural => Play::new(Natural, Some(by_key), input).run(input),
        OrderKind::Reversed => {
            let reversed = |a: &Item<K>, b: &Item<K>| b.key.compare(&a.key);
            Play::new(Reversed(Natural), Some(reversed), input).run(input);
        }
        OrderKind::ByKey => {
            let key = ByKey::new(|item: &Item<K>| item.key.clone());
            Play::new(key, Some(by_key), input).run(input);
        }
        OrderKind::By => Play::new(By::new(by_key), Some(by_key), input).run(input),
        OrderKind::Inconsistent(seed) => {
            let mut state = u32::from(seed);
            let order = By::new(move |a: &Item<K>, b: &Item<K>| {
                let _counted = by_key(a, b);
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                [Ordering::Less, Ordering::Equal, Ordering::Greater][(state >> 16) as usize % 3]
            });
            Play::new(order, None::<fn(&Item<K>, &Item<K>) -> Ordering>, input).run(input);
        }
        OrderKind::Panicking(period) => {
            let mut calls = 0_usize;
            let order = By::new(move |a: &Item<K>, b: &Item<K>| {
                calls += 1;
                if calls.is_multiple_of(usize::from(period.max(1))) {
                    scripted_panic("the comparator");
                }
                by_key(a, b)
            });
            Play::new(order, Some(by_key), input).run(input);
        }
        OrderKind::PanickingKey(period) => {
            let calls = Rc::default();
            let key = ByKey::new(move |item: &Item<K>| {
                let (key, calls) = (item.key.clone(), Rc::clone(&calls));
                PanickingKey { key, calls, period: usize::from(period.max(1)) }
            });
            Play::new(key, Some(by_key), input).run(input);
        }
    }
}

/// A key that panics each time it has been asked so often. What was copied of its parts by then stays so.
struct PanickingKey<K> {
    key: K,
    calls: Rc<Cell<usize>>,
    period: usize,
}

impl<K: Key> PanickingKey<K> {
    fn ask(&self) -> &K {
        self.calls.update(|calls| calls + 1);
        if self.calls.get().is_multiple_of(self.period) {
            scripted_panic("the key");
        }
        &self.key
    }
}

impl<K: Key> SortKey for PanickingKey<K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;
    const PARTS: usize = K::PARTS;

    fn code(&self) -> u64 {
        self.ask().code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.ask().compare(&other.key)
    }

    fn part(&self, index: usize) -> &[u8] {
        self.ask().part(index)
    }
}

struct Play<K, O, F> {
    tree: LoserTree<Item<K>, O>,
    model: Vec<Option<Item<K>>>,
    /// How the model compares; `None` for an order that is not one.
    compare: Option<F>,
    changed: Changed,
    comparisons: Comparisons,
    /// How many of the comparisons that were promised have not been made: runners-up are paid for by them.
    left: usize,
    /// How many items were made.
    items: usize,
}

/// Which heads have changed since the last question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    None,
    One(usize),
    All,
    /// A question has panicked: one head, or all, as far as the tree can tell.
    Interrupted,
}

impl<K, O, F> Play<K, O, F>
where
    K: Key,
    O: Order<Item<K>> + Clone,
    F: Fn(&Item<K>, &Item<K>) -> Ordering,
{
    fn new(order: O, compare: Option<F>, input: &Input) -> Self {
        let comparisons = Comparisons::new();
        let heads = input.heads.iter().take(MOST_HEADS).enumerate();
        let model: Vec<_> = heads
            .map(|(source, head)| head.map(|byte| Item::new(K::of(byte, &comparisons), source, source)))
            .collect();
        let tree = LoserTree::new(order, model.clone());
        assert_eq!(comparisons.take(), 0, "construction compares nothing");
        let items = model.len();
        let left = levels(items);
        Self { tree, model, compare, changed: Changed::All, comparisons, left, items }
    }

    fn run(mut self, input: &Input) {
        for op in &input.ops {
            self.apply(*op);
            assert_eq!(self.tree.sources(), self.model.len());
            let same = |(a, b): (&Option<Item<K>>, &Option<Item<K>>)| {
                a.as_ref().map(Item::identity) == b.as_ref().map(Item::identity)
            };
            assert!(self.tree.heads().iter().zip(&self.model).all(same), "{op:?}");
        }
        // Those of the model.
        self.comparisons.take();
        match input.end {
            End::PopAll => self.pop_all(),
            End::IntoHeads => {
                let heads = self.tree.into_heads();
                assert!(heads.iter().flatten().map(Item::identity).eq(live(&self.model).map(Item::identity)));
                assert_eq!(self.comparisons.take(), 0, "nothing is played for heads that go");
            }
            End::Drop => {
                drop(self.tree);
                assert_eq!(self.comparisons.take(), 0, "a drop compares nothing");
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Pop => self.pop(),
            Op::Advance(head) => {
                if let Some(Some((source, _))) = self.winner() {
                    self.set_head(source, head);
                }
            }
            Op::Replace { head, asks } => self.replace(head, asks),
            Op::SetHead { source, head } => {
                if !self.model.is_empty() {
                    self.set_head(usize::from(source) % self.model.len(), head);
                }
            }
            Op::SetNoHead(head) => {
                let head = self.item(self.model.len(), head);
                let identity = head.as_ref().map(Item::identity);
                let back = self.tree.set_head(self.model.len(), head);
                assert_eq!(back.as_ref().map(Item::identity), identity, "it comes back");
            }
            Op::Push(head) => {
                let source = self.model.len();
                let head = self.item(source, head);
                if source == 4 && O::PARTS > 0 {
                    // With a fifth source, strings of bytes get codes.
                    self.changed = Changed::All;
                } else if head.is_some() {
                    self.change(source);
                }
                self.model.push(head.clone());
                self.left += levels(source + 1) - levels(source);
                self.comparisons.take();
                assert_eq!(self.tree.push(head), source);
                assert_eq!(self.comparisons.take(), 0, "a push compares nothing");
            }
            Op::Winner => drop(self.winner()),
            Op::RunnerUp => {
                let spare = levels(self.model.len());
                let asked =
                    self.ask(spare, |tree| tree.runner_up().map(|(source, head)| (source, head.clone())));
                let Some(found) = asked else { return };
                let Some(Some(winner)) = self.winner() else { return };
                self.expect(found, Some(winner.0));
            }
            Op::Settle => drop(self.ask(0, LoserTree::settle)),
            Op::SettleBefore(source) => {
                let source = usize::from(source) % (self.model.len() + 1);
                match self.changed {
                    Changed::One(other) if other != source => {
                        let _ = self.ask(0, |tree| tree.settle_before(source));
                    }
                    Changed::Interrupted => {
                        self.ask(0, |tree| tree.settle_before(source));
                        // If everything is due, it still is.
                        self.changed = Changed::Interrupted;
                    }
                    Changed::None | Changed::One(_) | Changed::All => {
                        self.comparisons.take();
                        self.tree.settle_before(source);
                        assert_eq!(self.comparisons.take(), 0, "more or less than a path of another is due");
                    }
                }
            }
            Op::Retain { removed, with_heads } => {
                self.retain(|source, head| removed >> (source % 8) & 1 == 0 || head.is_some() && !with_heads)
            }
            Op::Clone => self.tree = self.tree.clone(),
            Op::Streak { source, byte, head } => {
                if self.model.is_empty() {
                    return;
                }
                let source = usize::from(source) % self.model.len();
                self.pop_all();
                for _ in 0..STREAK {
                    self.set_head(source, Some(byte));
                    self.pop();
                }
                self.winner();
                self.set_head(source, head);
            }
            Op::Repeat(times) => {
                for _ in 0..times % 64 {
                    let Some(Some((source, head))) = self.winner() else { return };
                    self.items += 1;
                    self.set_item(source, Some(Item::new(head.key, source, self.items)));
                }
            }
        }
    }

    fn retain(&mut self, is_left: impl Fn(usize, &Option<Item<K>>) -> bool) {
        let is_left: Vec<_> =
            self.model.iter().enumerate().map(|(source, head)| is_left(source, head)).collect();
        let sources = self.model.len();
        self.comparisons.take();
        self.tree.retain(|source| is_left[source]);
        assert_eq!(self.comparisons.take(), 0, "to remove sources compares nothing");
        let mut is_left = is_left.into_iter();
        self.model.retain(|_| is_left.next().is_none_or(|is_left| is_left));
        if self.model.len() < sources {
            self.changed = Changed::All;
            self.left = self.left.saturating_sub(levels(sources) - levels(self.model.len()));
        }
    }

    fn pop_all(&mut self) {
        // One that panics at every question never ends.
        for _ in 0..2 * self.model.len() {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(popped) = self.ask(0, LoserTree::pop) else { return };
        let source = popped.as_ref().map(|(source, _)| *source);
        self.expect(popped, None);
        if let Some(source) = source {
            self.model[source] = None;
            self.change(source);
        }
    }

    fn replace(&mut self, head: Option<u8>, asks: bool) {
        self.pop();
        let Changed::One(source) = self.changed else { return };
        let head = self.item(source, head);
        let mut is_next = None;
        if let Some(item) = head.as_ref().filter(|_| asks) {
            self.comparisons.take();
            is_next = unless_it_panics(|| self.tree.is_next(item));
            assert!(self.comparisons.take() <= if O::EXACT { 0 } else { levels(self.model.len()) });
        }
        self.model[source] = head.clone();
        let Some(popped) = self.ask(1, |tree| tree.replace_popped(head)) else { return };
        let winner = popped.as_ref().map(|(source, _)| *source);
        self.expect(popped, None);
        if self.compare.is_some() {
            assert!(is_next.is_none_or(|is_next| is_next == (winner == Some(source))));
        }
        if let Some(winner) = winner {
            self.model[winner] = None;
            self.change(winner);
        }
    }

    /// Asks for the winner: `None` if the comparator has panicked.
    fn winner(&mut self) -> Option<Option<(usize, Item<K>)>> {
        let found = self.ask(0, |tree| tree.winner().map(|(source, head)| (source, head.clone())))?;
        self.expect(found.clone(), None);
        Some(found)
    }

    fn set_head(&mut self, source: usize, head: Option<u8>) {
        let head = self.item(source, head);
        self.set_item(source, head);
    }

    fn set_item(&mut self, source: usize, head: Option<Item<K>>) {
        self.comparisons.take();
        let old = self.tree.set_head(source, head.clone());
        assert_eq!(self.comparisons.take(), 0, "a change compares nothing");
        let expected = std::mem::replace(&mut self.model[source], head);
        assert_eq!(old.as_ref().map(Item::identity), expected.as_ref().map(Item::identity));
        self.change(source);
    }

    fn change(&mut self, source: usize) {
        self.changed = match self.changed {
            Changed::None => Changed::One(source),
            Changed::One(other) if other == source => Changed::One(source),
            Changed::One(_) | Changed::All => Changed::All,
            Changed::Interrupted => Changed::Interrupted,
        };
    }

    /// Asks the tree something, within the promised number of comparisons and `spare` ones.
    fn ask<R>(&mut self, spare: usize, question: impl FnOnce(&mut LoserTree<Item<K>, O>) -> R) -> Option<R> {
        self.comparisons.take();
        let tree = &mut self.tree;
        let answer = unless_it_panics(|| question(tree));
        let count = self.comparisons.take();
        let most = match self.changed {
            _ if O::EXACT => 0,
            Changed::None => spare,
            Changed::One(_) => spare + levels(self.model.len()),
            // Three are put in order.
            Changed::All | Changed::Interrupted if self.model.len() == 3 => spare + 3,
            Changed::All | Changed::Interrupted => spare + self.model.len().saturating_sub(1),
        };
        // A question after which a streak begins takes more, paid for by those before it.
        let path = levels(self.model.len());
        let is_on_credit = !O::EXACT && matches!(self.changed, Changed::One(_) | Changed::Interrupted);
        let credit = if is_on_credit { self.left.min(2 * path.saturating_sub(1)) } else { 0 };
        assert!(count <= most + credit, "{count} comparisons, {most} promised after {:?}", self.changed);
        self.left = self.left + most - count;
        self.changed = if answer.is_some() { Changed::None } else { Changed::Interrupted };
        answer
    }

    /// Asserts that this is the smallest head, that of one source left out.
    fn expect(&self, found: Option<(usize, Item<K>)>, without: Option<usize>) {
        let heads = self.model.iter().enumerate().filter(|(source, _)| Some(*source) != without);
        let mut heads = heads.filter_map(|(source, head)| Some((source, head.as_ref()?)));
        let Some(compare) = &self.compare else {
            // Which one it is does not matter, but it is one.
            assert_eq!(found.is_some(), heads.next().is_some());
            assert!(found.is_none_or(|(source, head)| {
                let model = self.model[source].as_ref();
                Some(source) != without && model.is_some_and(|model| model.identity() == head.identity())
            }));
            return;
        };
        let smallest = heads.min_by(|(_, a), (_, b)| compare(a, b));
        let smallest = smallest.map(|(source, head)| (source, head.identity()));
        assert_eq!(found.map(|(source, head)| (source, head.identity())), smallest);
    }

    fn item(&mut self, source: usize, byte: Option<u8>) -> Option<Item<K>> {
        self.items += 1;
        byte.map(|byte| Item::new(K::of(byte, &self.comparisons), source, self.items))
    }
}

fn live<K>(model: &[Option<Item<K>>]) -> impl Iterator<Item = &Item<K>> {
    model.iter().flatten()
}

/// ⌈log2 K⌉.
const fn levels(sources: usize) -> usize {
    sources.next_power_of_two().ilog2() as usize
}
