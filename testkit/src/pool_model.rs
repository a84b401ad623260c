use std::collections::{BTreeMap, VecDeque};

use losertree::resource::{Flow, PoolSnapshot};

use crate::runs_held::RunsHeld;

/// What a [`BytePool`](losertree::resource::BytePool) should do, as plainly as it can be said: no buffers, no
/// wakers, and everything that can be added up is added up anew each time.
#[derive(Debug)]
pub(crate) struct PoolModel {
    sizes: Vec<usize>,
    budget: usize,
    /// The charges of all leases, by number of their handing out.
    held: BTreeMap<u64, RunsHeld>,
    /// What each reservation holds, by its name.
    reservations: BTreeMap<u64, RunsHeld>,
    /// Who waits, in order.
    queue: VecDeque<Waiting>,
    /// Who need only come for it, the oldest grant first.
    granted: Vec<Granted>,
    /// Whose grant was passed on.
    absent: Vec<Waiting>,
    /// Whether what was granted is passed on to others as soon as they need it.
    passes_on: bool,
    /// The capacities of the idle buffers.
    idle: Vec<usize>,
    next_number: u64,
    arrivals: u64,
    grants: u64,
    /// How often somebody has looked.
    looks: u64,
    /// What cannot be added up: the peak, and what has happened.
    past: PoolSnapshot,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    name: u64,
    charge: usize,
    is_growth: bool,
    arrival: u64,
}

#[derive(Debug, Clone)]
struct Granted {
    waiting: Waiting,
    holding: RunsHeld,
    has_buffer: bool,
    number: u64,
}

/// Why the model does not lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooLarge { requested: usize, largest: usize },
    Exhausted { charge: usize, available: usize, waiting: usize },
}

impl PoolModel {
    pub(crate) fn new(sizes: Vec<usize>, budget: usize, passes_on: bool) -> Self {
        let (past, held, reservations, queue, granted, absent, idle) = Default::default();
        let (next_number, arrivals, grants, looks) = Default::default();
        Self {
            sizes,
            budget,
            held,
            reservations,
            queue,
            granted,
            absent,
            passes_on,
            idle,
            next_number,
            arrivals,
            grants,
            looks,
            past,
        }
    }

    /// The figures, before which what was not collected is passed on.
    pub(crate) fn snapshot(&mut self) -> PoolSnapshot {
        self.let_in();
        self.looks += 1;
        let mut figures = self.past;
        figures.budget_bytes = self.budget;
        figures.used_bytes = self.used();
        figures.idle_bytes = self.idle.iter().sum();
        let granted = || self.granted.iter().map(|granted| granted.waiting);
        let growths = granted().filter(|waiting| waiting.is_growth);
        figures.reserved_bytes = self.reservations.values().map(RunsHeld::bytes).sum::<usize>()
            + growths.map(|waiting| waiting.charge).sum::<usize>();
        figures.long_held_bytes = self.holdings().map(|holding| holding.seen_by(2, self.looks)).sum();
        figures.outstanding = self.held.len() + granted().filter(|waiting| !waiting.is_growth).count();
        figures.waiting = self.queue.len();
        figures.uncollected = self.granted.len();
        figures.uncollected_bytes = granted().map(|waiting| waiting.charge).sum();
        figures.absent = self.absent.len();
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
    pub(crate) fn held(&self) -> &BTreeMap<u64, RunsHeld> {
        &self.held
    }

    /// Whether it was let in, be it that it has missed that.
    pub(crate) fn was_granted(&self, name: u64) -> bool {
        self.is_absent(name) || self.granted.iter().any(|granted| granted.waiting.name == name)
    }

    pub(crate) fn is_absent(&self, name: u64) -> bool {
        self.absent.iter().any(|waiting| waiting.name == name)
    }

    pub(crate) fn is_queued(&self, name: u64) -> bool {
        self.queue.iter().any(|waiting| waiting.name == name)
    }

    /// How many wait for a lease, were granted one, or are absent.
    pub(crate) fn lease_waits(&self) -> usize {
        self.places().filter(|waiting| !waiting.is_growth).count()
    }

    /// Leases now or not at all: the number of the lease.
    pub(crate) fn lease(&mut self, len: usize) -> Result<u64, Refusal> {
        let charge = self.charge_of(len)?;
        self.admit(charge)?;
        Ok(self.lease_admitted(charge))
    }

    /// Waits for a lease; `name` tells who. The number of the lease, if it is there.
    pub(crate) fn poll(&mut self, name: u64, len: usize) -> Result<Option<u64>, Refusal> {
        let charge = self.charge_of(len)?;
        if self.has_place(name) {
            let collected = self.go_on(name);
            return Ok(collected.map(|granted| self.hand_out(granted.holding, granted.has_buffer)));
        }
        if self.is_admitted(charge) {
            return Ok(Some(self.lease_admitted(charge)));
        }
        self.enqueue(name, charge, false);
        Ok(None)
    }

    pub(crate) fn cancel(&mut self, name: u64) {
        if !self.has_place(name) {
            return;
        }
        self.queue.retain(|waiting| waiting.name != name);
        self.absent.retain(|waiting| waiting.name != name);
        if let Some(granted) = self.take_grant(name) {
            self.undo(granted);
        }
        self.let_in();
    }

    pub(crate) fn reservations(&self) -> &BTreeMap<u64, RunsHeld> {
        &self.reservations
    }

    pub(crate) fn reserve(&mut self, name: u64) {
        self.reservations.insert(name, RunsHeld::default());
    }

    /// Has a reservation hold more, now or not at all.
    pub(crate) fn grow(&mut self, name: u64, bytes: usize) -> Result<(), Refusal> {
        self.check_growth(name, bytes)?;
        if bytes > 0 {
            self.admit(bytes)?;
            self.hold(name, self.just_held(bytes));
        }
        Ok(())
    }

    /// Waits for a reservation to hold more. Whether it does.
    pub(crate) fn poll_growth(&mut self, name: u64, bytes: usize) -> Result<bool, Refusal> {
        if self.places().any(|waiting| waiting.name == name && waiting.charge != bytes) {
            self.cancel(name);
        }
        if let Err(too_large) = self.check_growth(name, bytes) {
            self.cancel(name);
            return Err(too_large);
        }
        if self.has_place(name) {
            let Some(collected) = self.go_on(name) else { return Ok(false) };
            self.hold(name, collected.holding);
            return Ok(true);
        }
        if bytes > 0 && !self.is_admitted(bytes) {
            self.enqueue(name, bytes, true);
            return Ok(false);
        }
        self.hold(name, self.just_held(bytes));
        Ok(true)
    }

    pub(crate) fn shrink(&mut self, name: u64, bytes: usize) {
        let held = self.reservations.entry(name).or_default();
        let given_back = bytes.min(held.bytes());
        held.give_back(given_back);
        if given_back > 0 {
            self.let_in();
        }
    }

    pub(crate) fn drop_reservation(&mut self, name: u64) {
        self.cancel(name);
        self.shrink(name, usize::MAX);
        self.reservations.remove(&name);
    }

    pub(crate) fn put(&mut self, number: u64) {
        let charge = self.held.remove(&number).unwrap_or_default().bytes();
        assert!(charge > 0, "the lease is not out");
        self.idle.push(charge);
        add(&mut self.past.puts, charge);
        self.let_in();
    }

    pub(crate) fn resize(&mut self, number: u64, len: usize) -> Result<(), Refusal> {
        let charge = self.charge_of(len)?;
        let old = self.held[&number].bytes();
        if charge > old {
            self.admit(charge - old)?;
            self.past.gets.bytes += (charge - old) as u64;
        }
        let growth = self.just_held(charge.saturating_sub(old));
        let held = self.held.entry(number).or_default();
        held.add(growth);
        held.give_back(old.saturating_sub(charge));
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
        self.holdings().map(RunsHeld::bytes).sum()
    }

    fn holdings(&self) -> impl Iterator<Item = &RunsHeld> {
        let granted = self.granted.iter().map(|granted| &granted.holding);
        self.held.values().chain(self.reservations.values()).chain(granted)
    }

    fn just_held(&self, bytes: usize) -> RunsHeld {
        RunsHeld::new(bytes, self.looks)
    }

    fn has_place(&self, name: u64) -> bool {
        self.places().any(|waiting| waiting.name == name)
    }

    fn places(&self) -> impl Iterator<Item = &Waiting> {
        let granted = self.granted.iter().map(|granted| &granted.waiting);
        self.queue.iter().chain(granted).chain(&self.absent)
    }

    fn check_growth(&self, name: u64, bytes: usize) -> Result<(), Refusal> {
        let requested = self.reservations[&name].bytes() + bytes;
        if requested > self.budget {
            return Err(Refusal::TooLarge { requested, largest: self.budget });
        }
        Ok(())
    }

    fn hold(&mut self, name: u64, growth: RunsHeld) {
        self.reservations.entry(name).or_default().add(growth);
        self.settle();
    }

    fn enqueue(&mut self, name: u64, charge: usize, is_growth: bool) {
        add(&mut self.past.waits, charge);
        self.arrivals += 1;
        self.queue.push_back(Waiting { name, charge, is_growth, arrival: self.arrivals });
    }

    /// Goes on waiting, in its old place if it was absent. What it was granted, if it was.
    fn go_on(&mut self, name: u64) -> Option<Granted> {
        let granted = self.take_grant(name);
        if granted.is_some() {
            return granted;
        }
        if let Some(place) = self.absent.iter().position(|waiting| waiting.name == name) {
            let back = self.absent.swap_remove(place);
            let place = self.queue.iter().filter(|waiting| waiting.arrival < back.arrival).count();
            self.queue.insert(place, back);
        }
        self.let_in();
        self.take_grant(name)
    }

    fn take_grant(&mut self, name: u64) -> Option<Granted> {
        let place = self.granted.iter().position(|granted| granted.waiting.name == name)?;
        Some(self.granted.remove(place))
    }

    /// Has what was granted come back.
    fn undo(&mut self, Granted { waiting, has_buffer, .. }: Granted) {
        self.idle.extend(has_buffer.then_some(waiting.charge));
        if !waiting.is_growth {
            add(&mut self.past.puts, waiting.charge);
        }
    }

    fn fits(&self, charge: usize) -> bool {
        self.used() + charge <= self.budget
    }

    fn admits(&self, charge: usize) -> bool {
        self.fits(charge) && self.queue.is_empty()
    }

    /// Whether so much can be charged now, for which what was not collected is passed on.
    fn is_admitted(&mut self, charge: usize) -> bool {
        let before = self.grants;
        if !self.admits(charge) {
            self.let_in();
            while self.queue.is_empty() && !self.fits(charge) && self.take_back(before) {}
        }
        self.admits(charge)
    }

    fn admit(&mut self, charge: usize) -> Result<(), Refusal> {
        if self.is_admitted(charge) {
            return Ok(());
        }
        add(&mut self.past.refusals, charge);
        Err(Refusal::Exhausted { charge, available: self.budget - self.used(), waiting: self.queue.len() })
    }

    fn lease_admitted(&mut self, charge: usize) -> u64 {
        add(&mut self.past.gets, charge);
        let has_buffer = self.take_idle(charge);
        self.hand_out(self.just_held(charge), has_buffer)
    }

    /// Lets in who waits. What is granted here is not taken back here.
    fn let_in(&mut self) {
        let before = self.grants;
        while let Some(first) = self.queue.front().copied() {
            if !self.fits(first.charge) {
                if self.take_back(before) {
                    continue;
                }
                break;
            }
            self.queue.pop_front();
            let mut has_buffer = false;
            if !first.is_growth {
                add(&mut self.past.gets, first.charge);
                has_buffer = self.take_idle(first.charge);
            }
            let holding = self.just_held(first.charge);
            self.granted.push(Granted { waiting: first, holding, has_buffer, number: self.grants });
            self.grants += 1;
            self.note_peak();
        }
        self.settle();
    }

    /// Takes back the oldest grant.
    fn take_back(&mut self, before: u64) -> bool {
        let is_old = self.granted.first().is_some_and(|granted| granted.number < before);
        if self.passes_on && is_old {
            let granted = self.granted.remove(0);
            add(&mut self.past.passed_on, granted.waiting.charge);
            self.absent.push(granted.waiting);
            self.undo(granted);
        }
        self.passes_on && is_old
    }

    fn take_idle(&mut self, charge: usize) -> bool {
        let place = self.idle.iter().position(|idle| *idle == charge);
        place.map(|place| self.idle.swap_remove(place)).is_some()
    }

    fn hand_out(&mut self, holding: RunsHeld, has_buffer: bool) -> u64 {
        if !has_buffer {
            add(&mut self.past.allocations, holding.bytes());
        }
        let number = self.next_number;
        self.next_number += 1;
        self.held.insert(number, holding);
        self.settle();
        number
    }

    /// Lets go of the largest idle buffers until what is held fits, and notes the peak.
    fn settle(&mut self) {
        self.idle.sort_unstable();
        while self.used() + self.idle.iter().sum::<usize>() > self.budget {
            self.idle.pop();
        }
        self.note_peak();
    }

    fn note_peak(&mut self) {
        self.past.peak_bytes = self.past.peak_bytes.max(self.used());
    }
}

fn add(flow: &mut Flow, bytes: usize) {
    flow.count += 1;
    flow.bytes += bytes as u64;
}
