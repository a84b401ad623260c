//! Every node against a tournament that is played from the beginning, after random changes.

use std::cmp::Ordering;

use super::LoserTree;
use super::codes::Kind;
use super::loser_tree::Due;
use super::node::Node;
use crate::key::{By, ByOffsetCode, Coded, Natural, OffsetCode, Order, SortKey};

/// A source of random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }

    /// A key that has much in common with others, or is equal to one of them.
    fn key(&mut self) -> Vec<u8> {
        let mut key = vec![b'a'; [0, 3, 5, 9, 10, 23][self.below(6)]];
        key.extend((0..self.below(4)).map(|_| [0, b'a', b'b', u8::MAX][self.below(4)]));
        key
    }
}

/// What the tree is made of.
trait Head: Clone {
    fn make(key: Vec<u8>, code: OffsetCode) -> Self;
    fn key(&self) -> &Vec<u8>;
}

impl Head for Vec<u8> {
    fn make(key: Vec<u8>, _: OffsetCode) -> Self {
        key
    }

    fn key(&self) -> &Vec<u8> {
        self
    }
}

impl Head for Coded<Vec<u8>> {
    fn make(key: Vec<u8>, code: OffsetCode) -> Self {
        Self { item: key, code }
    }

    fn key(&self) -> &Vec<u8> {
        &self.item
    }
}

/// Plays the tournament from the beginning, and compares each node.
fn check<T: Head, O: Order<T> + Clone>(tree: &LoserTree<T, O>) {
    assert!(tree.due == Due::Nothing);
    let mut tree = tree.clone();
    let (width, sources) = (tree.bracket.leaves(), tree.heads.len());
    assert_eq!(width, sources.next_power_of_two());
    let (kind, is_line) = (tree.kind(), tree.is_line());
    let losers = tree.bracket.losers().to_vec();
    assert!(!matches!(kind, Kind::Pair | Kind::Few) || width <= 4);
    assert!(kind != Kind::Offset || O::IS_CODED || width > 4);
    let heads = tree.heads.clone();
    let key = |source: usize| heads.get(source)?.as_ref().map(Head::key);
    let is_before = |a: usize, b: usize| match (key(a), key(b)) {
        (Some(x), Some(y)) => x.compare(y).then(a.cmp(&b)).is_lt(),
        (x, _) => x.is_some(),
    };
    let mut assert_loser = |node: Node, loser: usize, winner: usize| {
        let Some(key_of_loser) = key(loser) else {
            // Which one of several that are exhausted it is does not matter.
            assert_eq!((node.code, node.is_live()), (u64::MAX, false));
            return;
        };
        let code = match kind {
            Kind::Offset => {
                key(winner).and_then(|before| OffsetCode::after(before, key_of_loser)).map(|code| code.0)
            }
            Kind::Key => heads[loser].as_ref().map(|head| tree.order.code(head)),
            Kind::Pair | Kind::Few => Some(0),
        };
        assert_eq!((Some(node), node.source()), (code.map(|code| Node::live(code, loser)), loser));
    };
    let winner = (0..width).reduce(|a, b| if is_before(b, a) { b } else { a }).unwrap_or(0);
    assert_eq!(
        tree.winner.is_live(),
        key(winner).is_some(),
        "{kind:?} {is_line} {sources} {:?} {losers:?}",
        tree.winner
    );
    assert!(!tree.winner.is_live() || tree.winner.source() == winner);
    if is_line {
        let mut line: Vec<_> = (0..3).collect();
        line.sort_by(|a, b| if is_before(*a, *b) { Ordering::Less } else { Ordering::Greater });
        for (node, loser) in losers[1..].iter().zip(&line[1..]) {
            assert_loser(*node, *loser, winner);
        }
        return;
    }
    let mut winners: Vec<_> = (0..2 * width).map(|node| node.saturating_sub(width)).collect();
    for node in (1..width).rev() {
        let (a, b) = (winners[2 * node], winners[2 * node + 1]);
        let (winner, loser) = if is_before(b, a) { (b, a) } else { (a, b) };
        winners[node] = winner;
        assert_loser(losers[node], loser, winner);
    }
    // The way of each leaf can be found: where two meet, each comes from a side of its own.
    for leaf in width..2 * width {
        let mut passing = tree.winner;
        for height in (1..=tree.bracket.levels()).rev() {
            let side = |player: Node| (width + player.source()) >> (height - 1);
            let loser = losers[leaf >> height];
            let mut sides = [side(passing), side(loser)];
            sides.sort_unstable();
            assert_eq!(sides, [leaf >> height << 1, leaf >> height << 1 | 1]);
            if side(loser) == leaf >> (height - 1) {
                passing = loser;
            }
        }
        assert_eq!(passing.source(), leaf - width);
    }
}

/// A tree in the hands of a merge whose sources come, go and change at random.
struct Trial<T, O> {
    tree: LoserTree<T, O>,
    random: Random,
    /// The last head that each source was given.
    given: Vec<Option<Vec<u8>>>,
    /// The heads that were taken.
    taken: Vec<Vec<u8>>,
}

impl<T: Head, O: Order<T> + Clone> Trial<T, O> {
    fn new(order: &O, seed: u64) -> Self {
        let mut random = Random(seed);
        let most = [3, 9, 40][random.below(3)];
        let tree = LoserTree::new(order.clone(), (0..random.below(most)).map(|_| None));
        Self { given: vec![None; tree.sources()], tree, random, taken: Vec::new() }
    }

    /// A head for a source, mostly not before the last one.
    fn head(&mut self, source: usize) -> Option<T> {
        let Self { random, given, .. } = self;
        if random.below(6) == 0 {
            return None;
        }
        let mut key = random.key();
        if let Some(before) = given[source].as_ref().filter(|_| random.below(4) > 0) {
            key = if random.below(3) == 0 { before.clone() } else { key.max(before.clone()) };
        }
        Some(self.head_of(source, key))
    }

    fn head_of(&mut self, source: usize, key: Vec<u8>) -> T {
        let before = self.given[source].replace(key.clone());
        let code = before.and_then(|before| OffsetCode::after(&before, &key));
        T::make(key, code.filter(|_| self.random.below(20) > 0).unwrap_or(OffsetCode::UNKNOWN))
    }

    fn pop(&mut self) -> Option<(usize, Vec<u8>)> {
        let (source, head) = self.tree.pop()?;
        self.taken.push(head.key().clone());
        Some((source, head.key().clone()))
    }

    fn set(&mut self, source: usize) {
        self.tree.settle_before(source);
        let head = self.head(source);
        let is_taken = self.tree.due == Due::Nothing && self.tree.winner.source() == source;
        if let Some(old) = self.tree.set_head(source, head).filter(|_| is_taken) {
            self.taken.push(old.key().clone());
        }
    }

    fn push(&mut self) {
        let source = self.tree.sources();
        self.given.push(None);
        self.tree.settle_before(source);
        let head = self.head(source);
        assert_eq!(self.tree.push(head), source);
    }

    fn retain(&mut self) {
        let random = &mut self.random;
        let is_left: Vec<_> =
            self.tree.heads().iter().map(|head| head.is_some() || random.below(3) == 0).collect();
        self.tree.retain(|source| is_left[source]);
        let mut is_left = is_left.into_iter();
        self.given.retain(|_| is_left.next().is_some_and(|is_left| is_left));
    }

    /// Has a source win often, be beaten for a moment, and come back.
    fn favour(&mut self) {
        for is_beaten in (0..30).map(|item| item % 10 > 7) {
            let Some((source, mut key)) = self.pop() else { return };
            if is_beaten && let Some((_, other)) = self.tree.winner() {
                key.clone_from(other.key());
                key.push(0);
            }
            let head = self.head_of(source, key);
            self.tree.set_head(source, Some(head));
            if is_beaten && self.random.below(3) == 0 {
                return;
            }
        }
    }

    /// Takes some items as a merge does: in one step with the successor of the last one or in two, and asked before whether that is
    /// next or not.
    fn merge(&mut self) {
        let mut popped = self.pop();
        for _ in 0..self.random.below(20) {
            let Some((source, _)) = popped else { return };
            let head = self.head(source);
            let asked = head.as_ref().filter(|_| self.random.below(3) == 0);
            let is_next = asked.map(|head| self.tree.is_next(head));
            let is_coded = O::IS_CODED;
            popped = if self.random.below(3) > 0 {
                let next = self.tree.replace_popped(head);
                let next = next.map(|(source, head)| (source, head.key().clone()));
                self.taken.extend(next.iter().map(|(_, key)| key.clone()));
                next
            } else {
                self.tree.set_head(source, head);
                self.pop()
            };
            let is_own = popped.as_ref().is_some_and(|(winner, _)| *winner == source);
            assert!(is_next.is_none_or(|is_next| is_next == (is_own && !is_coded)));
        }
        let Some((source, _)) = popped else { return };
        let head = self.head(source);
        self.tree.set_head(source, head);
    }

    fn step(&mut self) {
        let source = self.random.below(self.tree.sources());
        match self.random.below(10) {
            0 => self.push(),
            1 if self.random.below(4) == 0 => self.retain(),
            1..4 if self.tree.sources() > 0 => self.set(source),
            4 => self.favour(),
            _ => self.merge(),
        }
    }

    fn run(&mut self) {
        for _ in 0..100 {
            self.step();
            if self.random.below(2) == 0 {
                self.tree.settle();
                check(&self.tree);
                self.check_taken();
            }
        }
    }

    /// What the code of the winner is against was taken last, and that of the one taken last, before that; if they are known.
    fn check_taken(&mut self) {
        if let (Some(_), Some((_, head))) = (self.tree.is_repeat(), self.tree.winner()) {
            let expected = OffsetCode::after(self.taken.last().unwrap_or(&Vec::new()), head.key());
            assert_eq!(Some(OffsetCode(self.tree.winner.code)), expected);
        }
        if let Some(is_repeat) = self.tree.is_taken_repeat() {
            assert!(matches!(&*self.taken, [.., a, b] if (a == b) == is_repeat));
        }
    }
}

#[test]
fn every_node_is_as_if_all_had_been_played() {
    for seed in 0..600 {
        Trial::<Vec<u8>, _>::new(&Natural, seed).run();
        Trial::<Coded<Vec<u8>>, _>::new(&ByOffsetCode, seed).run();
        Trial::<Vec<u8>, _>::new(&By::new(Vec::<u8>::cmp), seed).run();
    }
}

#[test]
fn offset_value_codes_begin_when_many_leaves_have_more_ties_than_items_and_stay() {
    let key = |number: u64, ties: bool| {
        let beginning: &[u8] = if ties { b"the same" } else { b"" };
        [beginning, &number.to_be_bytes()].concat()
    };
    for (sources, ties) in
        [(2, true), (3, true), (4, true), (4, false), (5, true), (8, true), (40, true), (8, false)]
    {
        let mut numbers = 0..;
        let mut next = || numbers.next().map(|number| key(number, ties));
        let mut tree = LoserTree::new(Natural, (0..sources).map(|_| next()));
        let mut begun = None;
        for item in 0..1000 {
            tree.settle();
            if tree.kind() == Kind::Offset {
                begun.get_or_insert(item);
                assert_eq!(tree.codes.ties, 0);
            }
            let Some((source, _)) = tree.pop() else { return };
            tree.set_head(source, next());
        }
        // Few sources compare bytes instead, and four of them only where there is no better.
        assert_eq!(tree.kind() == Kind::Few, sources == 3 || sources == 4 && ties, "{sources} sources");
        // Of the matches of an item, those with live opponents are ties, and one of them is allowed.
        assert_eq!(begun.is_some(), sources > 4 && ties, "{sources} sources");
        let (leaves, levels) = (tree.bracket.leaves(), tree.bracket.levels() as usize);
        let soonest = 8 * leaves / levels;
        assert!(
            begun.is_none_or(|item| (soonest..4 * soonest).contains(&item)),
            "{begun:?} of {sources} sources"
        );
        // More leaves do not end them, and so few do.
        while tree.bracket.leaves() < 128 {
            tree.push(next());
        }
        tree.settle();
        assert_eq!(tree.kind() == Kind::Offset, sources > 4 && ties);
        tree.retain(|source| source < 4);
        tree.settle();
        assert_eq!(tree.kind(), if sources > 4 && ties { Kind::Few } else { Kind::Key });
        tree.retain(|source| source < 3);
        tree.settle();
        assert_eq!(tree.kind(), Kind::Few);
    }
}

#[test]
fn ties_of_some_items_do_not_begin_offset_value_codes() {
    let mut random = Random(7);
    let mut tree = LoserTree::new(Natural, (0..8).map(|_| Some(vec![0; 10])));
    for item in 0..20_000_u32 {
        let Some((source, _)) = tree.pop() else { return };
        // A third are equal to those of other sources.
        let key = if item % 3 == 0 {
            u64::from(item / 60)
        } else {
            u64::from(item) << 20 | random.below(1 << 20) as u64
        };
        tree.set_head(source, Some(key.to_be_bytes().to_vec()));
        tree.settle();
        assert_eq!(tree.kind(), Kind::Key);
    }
}
