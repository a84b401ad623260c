use std::time::Duration;

use crate::clock::Moment;

/// How much of what a pool has charged is held for long: without a clock in a lease, and without a list of leases.
///
/// Now and then somebody looks, and if it is time a *mark* is set. All that is charged then is held since the mark, until it
/// is given back. What is held since the mark before the last is held for at least as long as there is between marks.
#[derive(Debug)]
pub(super) struct LongHeld {
    after: Duration,
    marked_at: Option<Moment>,
    /// How many marks were set.
    marks: u64,
    /// What is held since the last mark, and since the one before: the sums of what is so in each [`Holding`].
    since: [usize; 2],
}

/// What is charged to one holder, which nobody else gives back.
#[derive(Debug, Default)]
pub(super) struct Holding {
    bytes: usize,
    /// How many marks were set when it changed last.
    marks: u64,
    /// The least that it was since the last of these, and since the one before.
    since: [usize; 2],
}

impl LongHeld {
    pub(super) const fn new(after: Duration) -> Self {
        Self { after, marked_at: None, marks: 0, since: [0; 2] }
    }

    /// What is held for long.
    pub(super) const fn bytes(&self) -> usize {
        self.since[1]
    }

    /// Sets a mark if it is time, where so much is charged.
    pub(super) fn look(&mut self, used_bytes: usize) {
        if self.marked_at.is_none_or(|at| at.elapsed() >= self.after) {
            self.marked_at = Some(Moment::now());
            self.marks += 1;
            self.since = [used_bytes, self.since[0]];
        }
    }

    /// Begins to hold what has just been charged.
    #[inline]
    pub(super) const fn hold(&self, bytes: usize) -> Holding {
        Holding { bytes, marks: self.marks, since: [0; 2] }
    }

    /// Takes so many bytes out of what is held: the newest first, so that what was never given back stays.
    #[inline]
    pub(super) fn give_back(&mut self, holding: &mut Holding, bytes: usize) {
        holding.pass(self.marks);
        holding.bytes -= bytes;
        if holding.bytes < holding.since[0] {
            self.give_back_old(holding);
        }
    }

    #[cold]
    fn give_back_old(&mut self, holding: &mut Holding) {
        for (all, own) in self.since.iter_mut().zip(&mut holding.since) {
            let kept = holding.bytes.min(*own);
            *all -= *own - kept;
            *own = kept;
        }
    }
}

impl Holding {
    #[inline]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds what another one has held. Neither was given back in between.
    pub(super) fn absorb(&mut self, mut other: Self) {
        let marks = self.marks.max(other.marks);
        self.pass(marks);
        other.pass(marks);
        self.bytes += other.bytes;
        self.since[0] += other.since[0];
        self.since[1] += other.since[1];
    }

    /// Passes the marks that were set since it changed last: at each it was what it is.
    #[inline]
    const fn pass(&mut self, marks: u64) {
        match marks - self.marks {
            0 => return,
            1 => self.since = [self.bytes, self.since[0]],
            _ => self.since = [self.bytes; 2],
        }
        self.marks = marks;
    }
}
