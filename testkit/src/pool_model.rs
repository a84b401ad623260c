use std::collections::{BTreeMap, VecDeque};

use losertree::resource::{Flow, PoolSnapshot};

/// What a [`BytePool`](losertree::resource::BytePool) should do, as plainly as it can be said: no buffers, no
/// wakers, and everything that can be added up is added up anew each time.
#[derive(Debug)]
pub(crate) struct PoolModel {
    sizes: Vec<usize>,
    budget: usize,
    /// The charges of all leases, by number of their handing out.
    held: BTreeMap<u64, usize>,
    /// Who waits, in order: their name and what they will be charged.
    queue: VecDeque<(u64, usize)>,
    /// Who need only come for their lease: name, charge, whether a buffer is kept for them.
    granted: Vec<(u64, usize, bool)>,
    /// The capacities of the idle buffers.
    idle: Vec<usize>,
    next_number: u64,
    /// What cannot be added up: the peak, and what has happened.
    past: PoolSnapshot,
}

/// Why the model does not lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooLarge,
    Exhausted { charge: usize, available: usize, waiting: usize },
}

impl PoolModel {
    pub(crate) fn new(sizes: Vec<usize>, budget: usize) -> Self {
        let past = PoolSnapshot::default();
        let (held, queue, granted, idle) = Default::default();
        Self { sizes, budget, held, queue, granted, idle, next_number: 0, past }
    }

    pub(crate) fn snapshot(&self) -> PoolSnapshot {
        let mut figures = self.past;
        figures.budget_bytes = self.budget;
        figures.used_bytes = self.used();
        figures.idle_bytes = self.idle.iter().sum();
        figures.outstanding = self.held.len() + self.granted.len();
        figures.waiting = self.queue.len();
        assert!(figures.used_bytes + figures.idle_bytes <= self.budget, "the model is wrong: {figures:?}");
        figures
    }

    pub(crate) fn charge_of(&self, len: usize) -> Option<usize> {
        self.sizes.iter().copied().find(|size| *size >= len)
    }

    /// The charges of the leases that are out, in the order in which they were handed out.
    pub(crate) fn held(&self) -> &BTreeMap<u64, usize> {
        &self.held
    }

    pub(crate) fn is_granted(&self, name: u64) -> bool {
        self.granted.iter().any(|(granted, ..)| *granted == name)
    }

    pub(crate) fn is_queued(&self, name: u64) -> bool {
        self.queue.iter().any(|(waiting, _)| *waiting == name)
    }

    /// Leases now or not at all: the number of the lease.
    pub(crate) fn lease(&mut self, len: usize) -> Result<u64, Refusal> {
        let charge = self.charge_of(len).ok_or(Refusal::TooLarge)?;
        self.admit(charge)?;
        add(&mut self.past.gets, charge);
        let has_buffer = self.take_idle(charge);
        Ok(self.hand_out(charge, has_buffer))
    }

    /// Waits for a lease; `name` tells who. The number of the lease, if it is there.
    pub(crate) fn poll(&mut self, name: u64, len: usize) -> Result<Option<u64>, Refusal> {
        let charge = self.charge_of(len).ok_or(Refusal::TooLarge)?;
        if let Some(place) = self.granted.iter().position(|(granted, ..)| *granted == name) {
            let (_, charge, has_buffer) = self.granted.remove(place);
            return Ok(Some(self.hand_out(charge, has_buffer)));
        }
        if self.is_queued(name) {
            return Ok(None);
        }
        if self.fits(charge) && self.queue.is_empty() {
            return self.lease(len).map(Some);
        }
        add(&mut self.past.waits, charge);
        self.queue.push_back((name, charge));
        Ok(None)
    }

    pub(crate) fn cancel(&mut self, name: u64) {
        self.queue.retain(|(waiting, _)| *waiting != name);
        if let Some(place) = self.granted.iter().position(|(granted, ..)| *granted == name) {
            let (_, charge, has_buffer) = self.granted.remove(place);
            self.idle.extend(has_buffer.then_some(charge));
            add(&mut self.past.puts, charge);
        }
        self.let_in();
    }

    pub(crate) fn put(&mut self, number: u64) {
        let charge = self.held.remove(&number).unwrap_or_default();
        assert!(charge > 0, "the lease is not out");
        self.idle.push(charge);
        add(&mut self.past.puts, charge);
        self.let_in();
    }

    pub(crate) fn resize(&mut self, number: u64, len: usize) -> Result<(), Refusal> {
        let charge = self.charge_of(len).ok_or(Refusal::TooLarge)?;
        let old = self.held[&number];
        if charge > old {
            self.admit(charge - old)?;
            self.past.gets.bytes += (charge - old) as u64;
        }
        self.held.insert(number, charge);
        if charge < old {
            self.past.puts.bytes += (old - charge) as u64;
            self.let_in();
        }
        self.settle();
        Ok(())
    }

    pub(crate) fn trim(&mut self) {
        self.idle.clear();
    }

    fn used(&self) -> usize {
        self.held.values().sum::<usize>() + self.granted.iter().map(|(_, charge, _)| charge).sum::<usize>()
    }

    fn fits(&self, charge: usize) -> bool {
        self.used() + charge <= self.budget
    }

    fn admit(&mut self, charge: usize) -> Result<(), Refusal> {
        if self.fits(charge) && self.queue.is_empty() {
            return Ok(());
        }
        add(&mut self.past.refusals, charge);
        Err(Refusal::Exhausted { charge, available: self.budget - self.used(), waiting: self.queue.len() })
    }

    fn let_in(&mut self) {
        while let Some((name, charge)) = self.queue.front().copied().filter(|(_, charge)| self.fits(*charge))
        {
            self.queue.pop_front();
            add(&mut self.past.gets, charge);
            let has_buffer = self.take_idle(charge);
            self.granted.push((name, charge, has_buffer));
        }
        self.settle();
    }

    fn take_idle(&mut self, charge: usize) -> bool {
        let place = self.idle.iter().position(|idle| *idle == charge);
        place.map(|place| self.idle.swap_remove(place)).is_some()
    }

    fn hand_out(&mut self, charge: usize, has_buffer: bool) -> u64 {
        if !has_buffer {
            add(&mut self.past.allocations, charge);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.held.insert(number, charge);
        self.settle();
        number
    }

    /// Lets go of the largest idle buffers until what is held fits, and notes the peak.
    fn settle(&mut self) {
        self.idle.sort_unstable();
        while self.used() + self.idle.iter().sum::<usize>() > self.budget {
            self.idle.pop();
        }
        self.past.peak_bytes = self.past.peak_bytes.max(self.used());
    }
}

fn add(flow: &mut Flow, bytes: usize) {
    flow.count += 1;
    flow.bytes += bytes as u64;
}
