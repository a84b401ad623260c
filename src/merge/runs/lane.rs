use std::hint::select_unpredictable;
use std::mem;

/// How many items one after the other must come from one side for them to be copied as a stretch.
const STRETCH: usize = 8;

/// How many steps a lane takes at a time while its sides are mixed.
const BLOCK: usize = 32;

/// A part of a merge of two that is independent of the others: what is left of both sides, and of the room
/// for the output, which is as long as both together.
pub(super) struct Lane<'a, E> {
    left: &'a [E],
    right: &'a [E],
    out: &'a mut [E],
    /// How many blocks in a row were mixed.
    mixed: u32,
}

impl<E> Default for Lane<'_, E> {
    fn default() -> Self {
        Self::new(&[], &[], &mut [])
    }
}

impl<'a, E> Lane<'a, E> {
    pub(super) fn new(left: &'a [E], right: &'a [E], out: &'a mut [E]) -> Self {
        Self { left, right, out, mixed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Splits off a lane for the first `items` of the output.
    pub(super) fn split_off(&mut self, items: usize, is_before: &mut impl FnMut(&E, &E) -> bool) -> Self {
        let from_left = self.share_of_left(items, is_before);
        let (left, right, out);
        (left, self.left) = self.left.split_at(from_left);
        (right, self.right) = self.right.split_at(items - from_left);
        (out, self.out) = mem::take(&mut self.out).split_at_mut(items);
        Self::new(left, right, out)
    }

    /// Returns how many of the first `items` come from the left.
    fn share_of_left(&self, items: usize, is_before: &mut impl FnMut(&E, &E) -> bool) -> usize {
        let mut least = items.saturating_sub(self.right.len());
        let mut most = items.min(self.left.len());
        while least < most {
            let middle = least.midpoint(most);
            if is_before(&self.right[items - middle - 1], &self.left[middle]) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        least
    }

    /// Whether a whole block is likely to be mixed.
    #[inline]
    fn is_mixed(&self) -> bool {
        self.mixed > 1 && self.left.len() >= BLOCK && self.right.len() >= BLOCK
    }
}

impl<E: Clone> Lane<'_, E> {
    /// Copies stretches that come from one side. Returns whether both sides then still have [`STRETCH`]
    /// entries, and are mixed.
    #[inline]
    pub(super) fn skip(&mut self, is_before: &mut impl FnMut(&E, &E) -> bool) -> bool {
        while self.left.len() >= STRETCH && self.right.len() >= STRETCH {
            if !is_before(&self.right[0], &self.left[STRETCH - 1]) {
                let right = &self.right[0];
                let stretch = gallop(self.left, |entry| !is_before(right, entry));
                copy(&mut self.left, &mut self.out, stretch);
            } else if is_before(&self.right[STRETCH - 1], &self.left[0]) {
                let left = &self.left[0];
                let stretch = gallop(self.right, |entry| is_before(entry, left));
                copy(&mut self.right, &mut self.out, stretch);
            } else {
                self.mixed += 1;
                return true;
            }
            self.mixed = 0;
        }
        false
    }

    /// Merges what is left.
    pub(super) fn finish(mut self, is_before: &mut impl FnMut(&E, &E) -> bool) {
        while self.skip(is_before) {
            let mut lanes = [self];
            step::<E, 1, STRETCH>(&mut lanes, is_before);
            [self] = lanes;
        }
        let (mut from_left, mut from_right) = (0, 0);
        while let (Some(a), Some(b)) = (self.left.get(from_left), self.right.get(from_right)) {
            let is_right = is_before(b, a);
            self.out[from_left + from_right] = select_unpredictable(is_right, b, a).clone();
            from_left += usize::from(!is_right);
            from_right += usize::from(is_right);
        }
        let rest = &mut self.out[from_left + from_right..];
        let (rest_of_left, rest_of_right) = rest.split_at_mut(self.left.len() - from_left);
        rest_of_left.clone_from_slice(&self.left[from_left..]);
        rest_of_right.clone_from_slice(&self.right[from_right..]);
    }
}

/// Advances lanes whose sides are mixed.
#[inline]
pub(super) fn advance<E: Clone, const N: usize>(
    lanes: &mut [Lane<'_, E>; N],
    is_before: &mut impl FnMut(&E, &E) -> bool,
) {
    if lanes.iter().all(Lane::is_mixed) {
        step::<E, N, BLOCK>(lanes, is_before);
    } else {
        step::<E, N, STRETCH>(lanes, is_before);
    }
}

/// Lets each lane take `LEN` steps, of which each puts out the smaller of two heads. Both sides of each lane
/// must have as many entries.
#[allow(clippy::inline_always)]
#[inline(always)]
fn step<E: Clone, const N: usize, const LEN: usize>(
    lanes: &mut [Lane<'_, E>; N],
    is_before: &mut impl FnMut(&E, &E) -> bool,
) {
    let mut from_left = [0; N];
    let mut from_right = [0; N];
    let left = lanes.each_ref().map(|lane| &lane.left[..LEN]);
    let right = lanes.each_ref().map(|lane| &lane.right[..LEN]);
    let out = lanes.each_mut().map(|lane| &mut lane.out[..LEN]);
    for place in 0..LEN {
        for lane in 0..N {
            let (a, b) = (&left[lane][from_left[lane]], &right[lane][from_right[lane]]);
            let is_right = is_before(b, a);
            out[lane][place] = select_unpredictable(is_right, b, a).clone();
            from_left[lane] += usize::from(!is_right);
            from_right[lane] += usize::from(is_right);
        }
    }
    for (lane, (from_left, from_right)) in lanes.iter_mut().zip(from_left.into_iter().zip(from_right)) {
        lane.left = &lane.left[from_left..];
        lane.right = &lane.right[from_right..];
        lane.out = &mut mem::take(&mut lane.out)[LEN..];
    }
}

/// Returns how many entries at the beginning of `run`, of which the first [`STRETCH`] are known to, come
/// before something.
#[inline]
fn gallop<E>(run: &[E], mut is_before: impl FnMut(&E) -> bool) -> usize {
    let (mut known, mut stride) = (STRETCH, STRETCH);
    while run.get(known + stride - 1).is_some_and(&mut is_before) {
        known += stride;
        stride *= 2;
    }
    let end = run.len().min(known + stride - 1);
    known + run[known..end].partition_point(is_before)
}

/// Copies a stretch to the output.
#[inline]
fn copy<E: Clone>(side: &mut &[E], out: &mut &mut [E], entries: usize) {
    let (stretch, room);
    (stretch, *side) = side.split_at(entries);
    (room, *out) = mem::take(out).split_at_mut(entries);
    room.clone_from_slice(stretch);
}
