use std::mem;
use std::slice::Chunks;

use super::lane::{Lane, advance};

/// How many lanes advance side by side.
const LANES: usize = 4;

/// The shortest lane that is split off a merge.
const SHORTEST: usize = 64;

/// Merges neighbouring runs, two by two, into `out`, which is as long as all of them.
pub(super) fn merge_pairs<E: Clone>(
    runs: &[&[E]],
    out: &mut [E],
    is_before: &mut impl FnMut(&E, &E) -> bool,
) {
    let share = (out.len() / LANES).max(SHORTEST);
    let mut queue = Queue { pairs: runs.chunks(2), out, rest: Lane::default(), share };
    let mut lanes: [Lane<'_, E>; LANES] = std::array::from_fn(|_| queue.next(is_before).unwrap_or_default());
    'all: loop {
        for lane in &mut lanes {
            while !lane.skip(is_before) {
                mem::take(lane).finish(is_before);
                match queue.next(is_before) {
                    Some(next) => *lane = next,
                    None => break 'all,
                }
            }
        }
        advance(&mut lanes, is_before);
    }
    for lane in lanes {
        lane.finish(is_before);
    }
}

/// The lanes of a level that have not begun.
struct Queue<'a, 'r, E> {
    pairs: Chunks<'a, &'r [E]>,
    /// The room for the pairs.
    out: &'r mut [E],
    /// What is left of the pair at hand.
    rest: Lane<'r, E>,
    /// How long a lane is.
    share: usize,
}

impl<'r, E> Queue<'_, 'r, E> {
    fn next(&mut self, is_before: &mut impl FnMut(&E, &E) -> bool) -> Option<Lane<'r, E>> {
        if self.rest.len() == 0 {
            let pair = self.pairs.next()?;
            let left = pair.first().copied().unwrap_or_default();
            let right = pair.get(1).copied().unwrap_or_default();
            let out;
            (out, self.out) = mem::take(&mut self.out).split_at_mut(left.len() + right.len());
            self.rest = Lane::new(left, right, out);
        }
        if self.rest.len() < self.share + self.share / 2 {
            return Some(mem::take(&mut self.rest));
        }
        Some(self.rest.split_off(self.share, is_before))
    }
}
