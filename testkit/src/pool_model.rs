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
    /// What each reservation holds, by its name.
    reservations: BTreeMap<u64, usize>,
    /// Who waits, in order.
    queue: VecDeque<Waiting>,
    /// Who need only come for it, and whether a buffer is kept for them.
    granted: Vec<(Waiting, bool)>,
    /// The capacities of the idle buffers.
    idle: Vec<usize>,
    next_number: u64,
    /// What cannot be added up: the peak, and what has happened.
    past: PoolSnapshot,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    name: u64,
    charge: usize,
    is_growth: bool,
}

/// Why the model does not lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooLarge { requested: usize, largest: usize },
    Exhausted { charge: usize, available: usize, waiting: usize },
}

impl PoolModel {
    pub(crate) fn new(sizes: Vec<usize>, budget: usize) -> Self {
        let past = PoolSnapshot::default();
        let (held, reservations, queue, granted, idle) = Default::default();
        Self { sizes, budget, held, reservations, queue, granted, idle, next_number: 0, past }
    }

    pub(crate) fn snapshot(&self) -> PoolSnapshot {
        let mut figures = self.past;
        figures.budget_bytes = self.budget;
        figures.used_bytes = self.used();
        figures.idle_bytes = self.idle.iter().sum();
        let granted = || self.granted.iter().map(|(waiting, _)| waiting);
        let growths = granted().filter(|waiting| waiting.is_growth);
        figures.reserved_bytes =
            self.reservations.values().sum::<usize>() + growths.map(|waiting| waiting.charge).sum::<usize>();
        figures.outstanding = self.held.len() + granted().filter(|waiting| !waiting.is_growth).count();
        figures.waiting = self.queue.len();
        assert!(figures.used_bytes + figures.idle_bytes <= self.budget, "the model is wrong: {figures:?}");
        figures
    }

    pub(crate) fn charge_of(&self, len: usize) -> Result<usize, Refusal> {
        let largest = self.sizes.iter().copied().max().unwrap_or_default();
        self.sizes
            .iter()
            .copied()
            .find(|size| *size >= len)
            .ok_or(Refusal::TooLarge { requested: len, largest })
    }

    /// The charges of the leases that are out, in the order in which they were handed out.
    pub(crate) fn held(&self) -> &BTreeMap<u64, usize> {
        &self.held
    }

    pub(crate) fn is_granted(&self, name: u64) -> bool {
        self.granted.iter().any(|(granted, _)| granted.name == name)
    }

    pub(crate) fn is_queued(&self, name: u64) -> bool {
        self.queue.iter().any(|waiting| waiting.name == name)
    }

    /// Leases now or not at all: the number of the lease.
    pub(crate) fn lease(&mut self, len: usize) -> Result<u64, Refusal> {
        let charge = self.charge_of(len)?;
        self.admit(charge)?;
        add(&mut self.past.gets, charge);
        let has_buffer = self.take_idle(charge);
        Ok(self.hand_out(charge, has_buffer))
    }

    /// Waits for a lease; `name` tells who. The number of the lease, if it is there.
    pub(crate) fn poll(&mut self, name: u64, len: usize) -> Result<Option<u64>, Refusal> {
        let charge = self.charge_of(len)?;
        if let Some((granted, has_buffer)) = self.take_grant(name) {
            return Ok(Some(self.hand_out(granted.charge, has_buffer)));
        }
        if self.is_queued(name) {
            return Ok(None);
        }
        if self.fits(charge) && self.queue.is_empty() {
            return self.lease(len).map(Some);
        }
        self.enqueue(Waiting { name, charge, is_growth: false });
        Ok(None)
    }

    pub(crate) fn cancel(&mut self, name: u64) {
        self.queue.retain(|waiting| waiting.name != name);
        if let Some((granted, has_buffer)) = self.take_grant(name) {
            self.idle.extend(has_buffer.then_some(granted.charge));
            if !granted.is_growth {
                add(&mut self.past.puts, granted.charge);
            }
        }
        self.let_in();
    }

    pub(crate) fn reservations(&self) -> &BTreeMap<u64, usize> {
        &self.reservations
    }

    pub(crate) fn reserve(&mut self, name: u64) {
        self.reservations.insert(name, 0);
    }

    /// Has a reservation hold more, now or not at all.
    pub(crate) fn grow(&mut self, name: u64, bytes: usize) -> Result<(), Refusal> {
        self.check_growth(name, bytes)?;
        if bytes > 0 {
            self.admit(bytes)?;
            self.hold(name, bytes);
        }
        Ok(())
    }

    /// Waits for a reservation to hold more. Whether it does.
    pub(crate) fn poll_growth(&mut self, name: u64, bytes: usize) -> Result<bool, Refusal> {
        let waiting = self.queue.iter().chain(self.granted.iter().map(|(granted, _)| granted));
        if waiting.clone().any(|waiting| waiting.name == name && waiting.charge != bytes) {
            self.cancel(name);
        }
        if self.is_queued(name) {
            return Ok(false);
        }
        if self.take_grant(name).is_none() {
            self.check_growth(name, bytes)?;
            if bytes > 0 && !(self.fits(bytes) && self.queue.is_empty()) {
                self.enqueue(Waiting { name, charge: bytes, is_growth: true });
                return Ok(false);
            }
        }
        self.hold(name, bytes);
        Ok(true)
    }

    pub(crate) fn shrink(&mut self, name: u64, bytes: usize) {
        let held = self.reservations.entry(name).or_default();
        *held = held.saturating_sub(bytes);
        self.let_in();
    }

    pub(crate) fn drop_reservation(&mut self, name: u64) {
        self.cancel(name);
        self.shrink(name, usize::MAX);
        self.reservations.remove(&name);
    }

    pub(crate) fn put(&mut self, number: u64) {
        let charge = self.held.remove(&number).unwrap_or_default();
        assert!(charge > 0, "the lease is not out");
        self.idle.push(charge);
        add(&mut self.past.puts, charge);
        self.let_in();
    }

    pub(crate) fn resize(&mut self, number: u64, len: usize) -> Result<(), Refusal> {
        let charge = self.charge_of(len)?;
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
        let granted = self.granted.iter().map(|(granted, _)| &granted.charge);
        self.held.values().chain(self.reservations.values()).chain(granted).sum()
    }

    fn check_growth(&self, name: u64, bytes: usize) -> Result<(), Refusal> {
        let requested = self.reservations[&name] + bytes;
        if requested > self.budget {
            return Err(Refusal::TooLarge { requested, largest: self.budget });
        }
        Ok(())
    }

    fn hold(&mut self, name: u64, bytes: usize) {
        *self.reservations.entry(name).or_default() += bytes;
        self.settle();
    }

    fn enqueue(&mut self, waiting: Waiting) {
        add(&mut self.past.waits, waiting.charge);
        self.queue.push_back(waiting);
    }

    fn take_grant(&mut self, name: u64) -> Option<(Waiting, bool)> {
        let place = self.granted.iter().position(|(granted, _)| granted.name == name)?;
        Some(self.granted.remove(place))
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
        while let Some(first) = self.queue.front().copied().filter(|first| self.fits(first.charge)) {
            self.queue.pop_front();
            let mut has_buffer = false;
            if !first.is_growth {
                add(&mut self.past.gets, first.charge);
                has_buffer = self.take_idle(first.charge);
            }
            self.granted.push((first, has_buffer));
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
