use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use losertree::LeakLedger;
use losertree::resource::{ByteLease, BytePool, LeaseWait, PoolError};

use crate::pool_model::{PoolModel, Refusal};
use crate::reserved::Reserved;
use crate::{CountingWaker, PoolStep};

/// A pool, its users, and the model that says what each [`PoolStep`] should do.
///
/// After every step all figures of the pool and its ledger are those of the model, everybody who was let in has
/// been woken once and nobody else has, and each lease holds what was filled in.
///
/// # Examples
///
/// ```
/// use losertree_testkit::{PoolStep, PoolTrial};
///
/// let mut trial = PoolTrial::new(0);
/// trial.step(PoolStep::Lease(100));
/// trial.step(PoolStep::Return(0));
/// trial.finish();
/// ```
#[derive(Debug)]
pub struct PoolTrial {
    pool: BytePool,
    ledger: LeakLedger,
    model: PoolModel,
    leases: Vec<Held>,
    shares: Vec<Shared>,
    waits: Vec<Waiting>,
    reserved: Vec<Reserved>,
    next_name: u64,
    next_fill: u8,
}

#[derive(Debug)]
struct Held {
    number: u64,
    lease: ByteLease,
    contents: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    number: u64,
    bytes: Bytes,
    contents: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    name: u64,
    len: usize,
    wait: LeaseWait,
    task: CountingWaker,
}

impl PoolTrial {
    /// Builds one of some small pools, whichever `kind` chooses. Half of them pass on at once what was granted and not
    /// collected, the others never.
    #[must_use]
    // The options fit together.
    #[allow(clippy::expect_used, clippy::missing_panics_doc)]
    pub fn new(kind: u8) -> Self {
        let (smallest, largest, factor, budget) =
            [(16, 256, 2, 600), (1, 200, 3, 200), (10, 100, 7, 1_000), (64, 64, 2, 300)]
                [usize::from(kind % 4)];
        let passes_on = kind & 4 > 0;
        let mut sizes: Vec<usize> = vec![smallest];
        while let Some(last) = sizes.last().filter(|last| **last < largest) {
            sizes.push(largest.min(last * factor));
        }
        let ledger = LeakLedger::sites();
        let pool = BytePool::builder()
            .smallest_bytes(smallest)
            .largest_bytes(largest)
            .growth_factor(factor)
            .budget_bytes(budget)
            .collect_within(if passes_on { Duration::ZERO } else { Duration::MAX })
            // Each look counts.
            .long_held_after(Duration::ZERO)
            .ledger(&ledger)
            .build()
            .expect("the options fit together");
        let model = PoolModel::new(sizes, budget, passes_on);
        let (leases, shares, waits, reserved) = Default::default();
        Self { pool, ledger, model, leases, shares, waits, reserved, next_name: 0, next_fill: 1 }
    }

    /// Takes a step and checks everything.
    ///
    /// # Panics
    ///
    /// If the pool is not as the model says.
    pub fn step(&mut self, step: PoolStep) {
        match step {
            PoolStep::Lease(len) => {
                let lease = self.pool.try_lease(len);
                let number = self.model.lease(len);
                self.handed_out(lease, number.map(Some), len);
            }
            PoolStep::Wait(len) => {
                let wait = self.pool.lease(len);
                let name = self.take_name();
                self.waits.push(Waiting { name, len, wait, task: CountingWaker::new() });
            }
            PoolStep::Poll { pick, is_new_task } => self.poll(pick, is_new_task),
            PoolStep::Cancel(pick) => {
                if let Some(waiting) = take(&mut self.waits, pick) {
                    self.cancel(waiting);
                }
            }
            PoolStep::Return(pick) => {
                if let Some(held) = take(&mut self.leases, pick) {
                    drop(held.lease);
                    self.model.put(held.number);
                }
            }
            PoolStep::Panic(pick) => {
                if let Some(held) = take(&mut self.leases, pick) {
                    let panic = catch_unwind(AssertUnwindSafe(move || {
                        let _lease = held.lease;
                        // Unlike a panic it is not reported.
                        resume_unwind(Box::new("as asked for"));
                    }));
                    assert!(panic.is_err());
                    self.model.put(held.number);
                }
            }
            PoolStep::Freeze(pick) => {
                if let Some(Held { number, lease, contents }) = take(&mut self.leases, pick) {
                    self.shares.push(Shared { number, bytes: lease.freeze(), contents });
                }
            }
            PoolStep::Share(pick) => {
                if let Some(index) = index(self.shares.len(), pick) {
                    let Shared { number, bytes, contents } = &self.shares[index];
                    let range = contents.len() / 3..contents.len();
                    let share = Shared {
                        number: *number,
                        bytes: bytes.slice(range.clone()),
                        contents: contents[range].to_vec(),
                    };
                    // An empty part holds on to nothing.
                    if !share.contents.is_empty() {
                        self.shares.push(share);
                    }
                }
            }
            PoolStep::DropBytes(pick) => {
                if let Some(share) = take(&mut self.shares, pick) {
                    drop(share.bytes);
                    if !self.shares.iter().any(|other| other.number == share.number) {
                        self.model.put(share.number);
                    }
                }
            }
            PoolStep::Resize { pick, len } => self.resize(pick, len),
            PoolStep::Fill { pick, len, way } => self.fill(pick, len, way),
            PoolStep::Trim => {
                self.pool.trim();
                self.model.trim();
            }
            PoolStep::Reserve => {
                let name = self.take_name();
                self.reserved.push(Reserved::new(name, &self.pool, &mut self.model));
            }
            PoolStep::Grow { pick, .. }
            | PoolStep::PollGrow { pick, .. }
            | PoolStep::CancelGrow(pick)
            | PoolStep::Shrink { pick, .. }
            | PoolStep::DropReservation(pick) => self.reserved(pick, step),
        }
        self.check();
    }

    /// Has everybody go home, in any order, and checks that nothing is left.
    ///
    /// # Panics
    ///
    /// If the pool is not as the model says.
    pub fn finish(mut self) {
        while !self.shares.is_empty() {
            self.step(PoolStep::DropBytes(7));
        }
        while !(self.leases.is_empty() && self.waits.is_empty() && self.reserved.is_empty()) {
            self.step(PoolStep::Return(5));
            self.step(PoolStep::PollGrow { pick: 1, len: None, is_new_task: false });
            self.step(PoolStep::DropReservation(4));
            self.step(PoolStep::Poll { pick: 3, is_new_task: false });
            self.step(PoolStep::Cancel(2));
        }
        let figures = self.pool.snapshot();
        assert_eq!((figures.used_bytes, figures.reserved_bytes), (0, 0));
        assert_eq!((figures.outstanding, figures.waiting), (0, 0));
        assert_eq!(figures.gets, figures.puts);
        let record = self.ledger.snapshot();
        assert!(record.is_all_closed(), "{record}");
        assert_eq!(record.closed, record.opened);
    }

    fn handed_out(
        &mut self,
        lease: Result<ByteLease, PoolError>,
        number: Result<Option<u64>, Refusal>,
        len: usize,
    ) {
        match (lease, number) {
            (Ok(lease), Ok(Some(number))) => {
                assert_eq!((lease.capacity(), lease.len()), (self.model.held()[&number].bytes(), 0));
                assert!(lease.capacity() >= len);
                self.leases.push(Held { number, lease, contents: Vec::new() });
            }
            (Err(error), Err(refusal)) => self.assert_refused(error, refusal),
            (lease, number) => panic!("{lease:?} instead of {number:?}"),
        }
    }

    fn poll(&mut self, pick: usize, is_new_task: bool) {
        let Some(index) = index(self.waits.len(), pick) else { return };
        let waiting = &mut self.waits[index];
        let is_new_task = is_new_task || self.model.is_absent(waiting.name);
        let old_task = is_new_task.then(|| std::mem::take(&mut waiting.task));
        let waker = waiting.task.waker();
        let poll = Pin::new(&mut waiting.wait).poll(&mut Context::from_waker(&waker));
        let model = self.model.poll(waiting.name, waiting.len);
        if let Some(old_task) = old_task {
            assert_eq!(old_task.kept(), 0, "the waker of the poll before is kept");
        }
        match poll {
            Poll::Pending => assert_eq!(model, Ok(None)),
            Poll::Ready(lease) => {
                let waiting = self.waits.remove(index);
                drop(waiting.wait);
                drop(waker);
                assert_eq!(waiting.task.kept(), 0, "the waker is kept after the wait");
                self.handed_out(lease, model, waiting.len);
            }
        }
    }

    fn cancel(&mut self, Waiting { name, wait, task, .. }: Waiting) {
        drop(wait);
        self.model.cancel(name);
        assert_eq!(task.kept(), 0, "the waker is kept after the wait");
    }

    fn resize(&mut self, pick: usize, len: usize) {
        let Some(index) = index(self.leases.len(), pick) else { return };
        let Held { number, lease, contents } = &mut self.leases[index];
        let result = lease.try_resize(len);
        let expected = self.model.resize(*number, len);
        contents.truncate(self.model.held()[number].bytes());
        match (result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(refusal)) => self.assert_refused(error, refusal),
            (result, expected) => panic!("{result:?} instead of {expected:?}"),
        }
    }

    fn reserved(&mut self, pick: usize, step: PoolStep) {
        let Some(index) = index(self.reserved.len(), pick) else { return };
        let (reserved, model) = (&mut self.reserved[index], &mut self.model);
        match step {
            PoolStep::Grow { len, .. } => match reserved.grow(len, model) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(refusal)) => self.assert_refused(error, refusal),
                (result, expected) => panic!("{result:?} instead of {expected:?}"),
            },
            PoolStep::PollGrow { len, is_new_task, .. } => {
                if let Some((error, refusal)) = reserved.poll(len, is_new_task, model) {
                    self.assert_refused(error, refusal);
                }
            }
            PoolStep::CancelGrow(_) => reserved.cancel(model),
            PoolStep::Shrink { len, .. } => reserved.shrink(len, model),
            _ => self.reserved.remove(index).drop(model),
        }
    }

    const fn take_name(&mut self) -> u64 {
        self.next_name += 1;
        self.next_name
    }

    fn fill(&mut self, pick: usize, len: usize, way: u8) {
        let Some(index) = index(self.leases.len(), pick) else { return };
        let Held { lease, contents, .. } = &mut self.leases[index];
        let room = lease.remaining();
        let address = lease.as_ptr();
        self.next_fill = self.next_fill.checked_add(1).unwrap_or(1);
        let fill = self.next_fill;
        let given = vec![fill; len];
        match way % 6 {
            0 => {
                let result = lease.extend_from_slice(&given);
                assert_eq!(result.map_err(|full| full.excess_bytes), fitting(len, room));
                contents.extend(given.iter().take_while(|_| len <= room));
            }
            1 => {
                let written = len.min(room);
                assert_eq!(lease.write(&given).ok(), Some(written));
                contents.extend(&given[..written]);
            }
            2 => {
                let whole = contents.len() + len;
                let result = lease.set_len(whole);
                assert_eq!(result.map_err(|full| full.excess_bytes), fitting(len, room));
                contents.resize(if len <= room { whole } else { contents.len() }, 0);
            }
            3 => {
                let whole = contents.len().min(len);
                assert_eq!(lease.set_len(whole), Ok(()));
                contents.truncate(whole);
            }
            4 => {
                lease.clear();
                contents.clear();
            }
            _ => {
                // Reads in pieces, and ends or fails half-way, or has more than it is asked for.
                let (ends_at, fails) = (usize::from(way / 12) * 16, (way / 6).is_multiple_of(2));
                let result = lease.read_from(Pieces { fill, left: ends_at, fails }, len);
                let kind = result.map_err(|error| error.kind());
                if len > room {
                    assert_eq!(kind, Err(io::ErrorKind::StorageFull));
                } else {
                    let read = len.min(ends_at);
                    let early = if fails { io::ErrorKind::Other } else { io::ErrorKind::UnexpectedEof };
                    assert_eq!(kind, if read < len { Err(early) } else { Ok(()) });
                    contents.extend(&given[..read]);
                }
            }
        }
        assert_eq!(lease.as_ptr(), address, "the buffer was allocated anew");
    }

    fn assert_refused(&self, error: PoolError, refusal: Refusal) {
        match (error, refusal) {
            (
                PoolError::TooLarge { requested_bytes, largest_bytes, .. },
                Refusal::TooLarge { requested, largest },
            ) => {
                assert_eq!((requested_bytes, largest_bytes), (requested, largest));
                assert!(requested_bytes > largest_bytes);
            }
            (
                PoolError::Exhausted { charge_bytes, available_bytes, budget_bytes, waiting, .. },
                Refusal::Exhausted { charge, available, waiting: expected },
            ) => {
                assert_eq!((charge_bytes, available_bytes, waiting), (charge, available, expected));
                assert_eq!(budget_bytes, self.pool.budget_bytes());
            }
            (error, refusal) => panic!("{error:?} instead of {refusal:?}"),
        }
    }

    fn check(&mut self) {
        let figures = self.pool.snapshot();
        assert_eq!(figures, self.model.snapshot());
        let leased_bytes = figures.used_bytes - figures.reserved_bytes;
        assert_eq!(figures.gets.bytes - figures.puts.bytes, leased_bytes as u64);
        assert_eq!(figures.gets.count - figures.puts.count, figures.outstanding as u64);
        assert!(figures.used_bytes <= figures.peak_bytes && figures.peak_bytes <= figures.budget_bytes);
        let record = self.ledger.snapshot();
        let open = self.model.held().len() + self.reserved.len() + self.model.lease_waits();
        assert_eq!(record.open, open as u64, "{record}");
        assert_eq!((record.failed, record.handed_back, record.dropped_unclosed), (0, 0, 0));
        for Waiting { name, task, .. } in &self.waits {
            assert_eq!(task.wakes(), usize::from(self.model.was_granted(*name)), "wake-ups of {name}");
            assert_eq!(task.kept(), usize::from(self.model.is_queued(*name)), "wakers of {name}");
        }
        for Held { number, lease, contents } in &self.leases {
            assert_eq!(**lease, **contents);
            let capacity = self.model.held()[number].bytes();
            assert_eq!((lease.capacity(), lease.remaining()), (capacity, capacity - contents.len()));
        }
        assert!(self.shares.iter().all(|share| share.bytes == share.contents));
        self.reserved.iter().for_each(|reserved| reserved.check(&self.model));
    }
}

/// Has `left` bytes, which it gives in pieces; then it ends or fails.
struct Pieces {
    fill: u8,
    left: usize,
    fails: bool,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.fails {
            return Err(io::Error::other("as asked for"));
        }
        let piece = into.len().min(self.left).min(13);
        into[..piece].fill(self.fill);
        self.left -= piece;
        Ok(piece)
    }
}

const fn fitting(len: usize, room: usize) -> Result<(), usize> {
    if len > room { Err(len - room) } else { Ok(()) }
}

const fn index(len: usize, pick: usize) -> Option<usize> {
    pick.checked_rem(len)
}

fn take<T>(items: &mut Vec<T>, pick: usize) -> Option<T> {
    index(items.len(), pick).map(|index| items.remove(index))
}
