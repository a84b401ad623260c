//! Every node against a tournament that is played from the beginning, after random changes.

use std::cmp::Ordering;

use super::LoserTree;
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
    tree.leave_seat();
    let (width, sources) = (tree.losers.len(), tree.heads.len());
    assert_eq!((width, width.ilog2()), (sources.next_power_of_two(), tree.levels));
    assert_eq!(tree.offsets.is_on, O::PARTS > 0 && (O::IS_CODED || width > 4));
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
        let code = if tree.offsets.is_on {
            key(winner).and_then(|before| OffsetCode::after(before, key_of_loser)).map(|code| code.0)
        } else {
            heads[loser].as_ref().map(|head| tree.order.code(head))
        };
        assert_eq!((Some(node), node.source()), (code.map(|code| Node::live(code, loser)), loser));
    };
    let winner = (0..width).reduce(|a, b| if is_before(b, a) { b } else { a }).unwrap_or(0);
    assert_eq!(tree.winner.is_live(), key(winner).is_some());
    assert!(!tree.winner.is_live() || tree.winner.source() == winner);
    if width == 4 && (O::EXACT || sources == 3 && !tree.offsets.is_on) {
        let mut line: Vec<_> = (0..4).collect();
        line.sort_by(|a, b| if is_before(*a, *b) { Ordering::Less } else { Ordering::Greater });
        for (node, loser) in tree.losers[1..].iter().zip(&line[1..]) {
            assert_loser(*node, *loser, winner);
        }
        return;
    }
    let mut winners: Vec<_> = (0..2 * width).map(|node| node.saturating_sub(width)).collect();
    for node in (1..width).rev() {
        let (a, b) = (winners[2 * node], winners[2 * node + 1]);
        let (winner, loser) = if is_before(b, a) { (b, a) } else { (a, b) };
        winners[node] = winner;
        assert_loser(tree.losers[node], loser, winner);
    }
    // The way of each leaf can be found: where two meet, each comes from a side of its own.
    for leaf in width..2 * width {
        let mut passing = tree.winner;
        for height in (1..=tree.levels).rev() {
            let side = |player: Node| (width + player.source()) >> (height - 1);
            let loser = tree.losers[leaf >> height];
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

fn run<T: Head, O: Order<T> + Clone>(order: &O, seed: u64) {
    let mut random = Random(seed);
    let most = [3, 9, 40][random.below(3)];
    let mut tree = LoserTree::new(order.clone(), (0..random.below(most)).map(|_| None));
    let mut given: Vec<Option<Vec<u8>>> = vec![None; tree.sources()];
    let mut taken: Option<Vec<u8>> = None;
    for _ in 0..150 {
        let source = random.below(tree.sources() + 1);
        let next = |random: &mut Random, before: &mut Option<Vec<u8>>| {
            if random.below(6) == 0 {
                return None;
            }
            let mut key = random.key();
            if let Some(before) = before.as_ref().filter(|_| random.below(4) > 0) {
                // Not before it, and often equal.
                key = if random.below(3) == 0 { before.clone() } else { key.max(before.clone()) };
            }
            let code = before.replace(key.clone()).and_then(|before| OffsetCode::after(&before, &key));
            let code = code.filter(|_| random.below(20) > 0).unwrap_or(OffsetCode::UNKNOWN);
            Some(T::make(key, code))
        };
        match random.below(9) {
            0 => {
                given.push(None);
                let head = next(&mut random, &mut given[tree.sources()]);
                tree.settle_before(tree.sources());
                tree.push(head);
            }
            1 if tree.sources() > 4 && random.below(4) == 0 => {
                let is_left: Vec<_> =
                    tree.heads().iter().map(|head| head.is_some() || random.below(3) == 0).collect();
                tree.retain(|source| is_left[source]);
                let mut left = is_left.iter();
                given.retain(|_| left.next().is_some_and(|is_left| *is_left));
            }
            2..4 if source < tree.sources() => {
                tree.settle_before(source);
                let head = next(&mut random, &mut given[source]);
                let is_taken = tree.due == Due::Nothing && tree.winner.source() == source;
                let old = tree.set_head(source, head);
                taken = old.filter(|_| is_taken).map(|head| head.key().clone()).or(taken);
            }
            // A favourite is beaten for a moment, and comes back.
            4 => {
                for beaten in (0..30).map(|item| item % 10 > 7) {
                    let Some((source, head)) = tree.pop() else { break };
                    let mut key = head.key().clone();
                    taken = Some(key.clone());
                    if beaten && let Some((_, other)) = tree.winner() {
                        key.clone_from(other.key());
                        key.push(0);
                    }
                    let code = OffsetCode::after(head.key(), &key);
                    given[source] = Some(key.clone());
                    tree.set_head(source, Some(T::make(key, code.unwrap_or(OffsetCode::UNKNOWN))));
                    if beaten && random.below(3) == 0 {
                        break;
                    }
                }
            }
            5 => {
                // One after the other wins, or one again and again.
                let again = random.below(2) == 0;
                for _ in 0..random.below(20) {
                    let Some((source, head)) = tree.pop() else { break };
                    taken = Some(head.key().clone());
                    let head = if again {
                        Some(T::make(head.key().clone(), OffsetCode::EQUAL))
                    } else {
                        next(&mut random, &mut given[source])
                    };
                    if again {
                        given[source] = taken.clone();
                    }
                    tree.set_head(source, head);
                }
            }
            _ => {
                if let Some((source, head)) = tree.pop() {
                    taken = Some(head.key().clone());
                    let head = next(&mut random, &mut given[source]);
                    tree.set_head(source, head);
                }
            }
        }
        if random.below(2) == 0 {
            tree.settle();
            check(&tree);
            // What the winner's code is against was taken last, if that is known.
            if let (Some(_), Some((winner, head))) = (tree.is_repeat(), tree.winner()) {
                let key = head.key().clone();
                let code = taken.as_ref().and_then(|taken| OffsetCode::after(taken, &key));
                assert_eq!(
                    (tree.winner, code.is_some()),
                    (Node::live(code.map_or(0, |code| code.0), winner), true)
                );
            }
        }
    }
}

#[test]
fn every_node_is_as_if_all_had_been_played() {
    for seed in 0..3_000 {
        run::<Vec<u8>, _>(&Natural, seed);
        run::<Coded<Vec<u8>>, _>(&ByOffsetCode, seed);
        run::<Vec<u8>, _>(&By::new(Vec::<u8>::cmp), seed);
    }
}
