use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::task::Waker;
use std::time::Duration;

use super::ledger::Noter;
use super::long_held::Holding;
use crate::clock::Moment;

/// Who waits for a pool, who was let in and has not collected what it was granted, and whose grant was passed on.
///
/// ```text
///  join ──► waiting ──► granted ──► collected
///              ▲           │
///         polled again     │ not collected in time, and others need the room
///              └─ absent ◄─┘
/// ```
///
/// A place is known by its ticket in all of these, and keeps it: who was absent is in front of all who came later. Each
/// step is O(log n).
#[derive(Debug)]
pub(super) struct WaitQueue {
    /// The tickets of those who wait, in the order of arrival.
    waiting: BTreeSet<u64>,
    /// The tickets of those who were granted what they wait for, and when, by number of the grant: the oldest first.
    granted: BTreeMap<u64, (u64, Moment)>,
    granted_bytes: usize,
    places: BTreeMap<u64, Place>,
    next_ticket: u64,
    next_grant: u64,
    collect_within: Duration,
}

#[derive(Debug)]
struct Place {
    demand: Demand,
    stage: Stage,
    noter: Noter,
}

#[derive(Debug)]
enum Stage {
    Waiting(Waker),
    Granted { number: u64, grant: Grant },
    Absent,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Demand {
    Lease(Charge),
    /// So many bytes more for a reservation.
    Growth(usize),
}

/// What a waiter has been let in for. It is charged.
#[derive(Debug)]
pub(super) enum Grant {
    /// The buffer is kept, if one was idle: left with the idle ones, it would be held beside what was charged
    /// for it.
    Lease {
        class: usize,
        holding: Holding,
        buffer: Option<Vec<u8>>,
    },
    Growth(Holding),
}

/// What a lease is charged: the class and capacity of its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) class: usize,
    pub(super) bytes: usize,
}

impl Demand {
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Lease(Charge { bytes, .. }) | Self::Growth(bytes) => bytes,
        }
    }
}

impl Grant {
    /// What is charged.
    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Lease { holding, .. } | Self::Growth(holding) => holding.bytes(),
        }
    }

    /// What is charged, and the buffer that was kept for a lease.
    pub(super) fn into_parts(self) -> (Holding, Option<Vec<u8>>) {
        match self {
            Self::Lease { holding, buffer, .. } => (holding, buffer),
            Self::Growth(holding) => (holding, None),
        }
    }
}

impl WaitQueue {
    pub(super) const fn new(collect_within: Duration) -> Self {
        Self {
            waiting: BTreeSet::new(),
            granted: BTreeMap::new(),
            granted_bytes: 0,
            places: BTreeMap::new(),
            next_ticket: 0,
            next_grant: 0,
            collect_within,
        }
    }

    /// How many wait.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many grants were not collected yet.
    pub(super) fn uncollected(&self) -> usize {
        self.granted.len()
    }

    pub(super) const fn uncollected_bytes(&self) -> usize {
        self.granted_bytes
    }

    /// How many had their grant passed on and have not been polled since.
    pub(super) fn absent(&self) -> usize {
        self.places.len() - self.waiting.len() - self.granted.len()
    }

    /// The number that the next grant gets.
    pub(super) const fn next_grant(&self) -> u64 {
        self.next_grant
    }

    /// Takes the place behind all others. Returns its ticket.
    pub(super) fn join(&mut self, demand: Demand, waker: Waker, noter: Noter) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket);
        self.places.insert(ticket, Place { demand, stage: Stage::Waiting(waker), noter });
        ticket
    }

    /// What the first of those waits for who wait.
    pub(super) fn first(&self) -> Option<Demand> {
        self.waiting.first().and_then(|ticket| self.places.get(ticket)).map(|place| place.demand)
    }

    /// Grants the first of those who wait what it waits for. Returns its ticket, and the waker that it waits on.
    pub(super) fn grant(&mut self, grant: Grant) -> Option<(u64, Waker)> {
        let ticket = self.waiting.pop_first()?;
        let place = self.places.get_mut(&ticket)?;
        let bytes = place.demand.bytes();
        place.noter.note("granted, not collected: bytes", Some(bytes as u64));
        let number = self.next_grant;
        self.next_grant += 1;
        self.granted.insert(number, (ticket, Moment::now()));
        self.granted_bytes += bytes;
        match mem::replace(&mut place.stage, Stage::Granted { number, grant }) {
            Stage::Waiting(waker) => Some((ticket, waker)),
            Stage::Granted { .. } | Stage::Absent => None,
        }
    }

    /// Collects what was granted, if it was.
    pub(super) fn collect(&mut self, ticket: u64) -> Option<Grant> {
        let is_granted =
            self.places.get(&ticket).is_some_and(|place| matches!(place.stage, Stage::Granted { .. }));
        if is_granted { self.leave(ticket).0 } else { None }
    }

    /// Gives up a place. Returns what was granted and not collected, and the waker that is not woken any more.
    pub(super) fn leave(&mut self, ticket: u64) -> (Option<Grant>, Option<Waker>) {
        let Some(place) = self.places.remove(&ticket) else { return (None, None) };
        match place.stage {
            Stage::Waiting(waker) => {
                self.waiting.remove(&ticket);
                (None, Some(waker))
            }
            Stage::Granted { number, grant } => {
                self.granted.remove(&number);
                self.granted_bytes -= place.demand.bytes();
                (Some(grant), None)
            }
            Stage::Absent => (None, None),
        }
    }

    /// Whether it waits on this waker.
    pub(super) fn waits_on(&self, ticket: u64, waker: &Waker) -> bool {
        let stage = self.places.get(&ticket).map(|place| &place.stage);
        matches!(stage, Some(Stage::Waiting(registered)) if registered.will_wake(waker))
    }

    /// Has it wait on another waker, and wait again if it was absent. Returns the waker that is not needed, which is
    /// to be dropped without the lock.
    pub(super) fn wait_on(&mut self, ticket: u64, waker: Waker) -> Option<Waker> {
        let Some(place) = self.places.get_mut(&ticket) else { return Some(waker) };
        match &mut place.stage {
            Stage::Waiting(registered) => Some(mem::replace(registered, waker)),
            Stage::Granted { .. } => Some(waker),
            Stage::Absent => {
                place.stage = Stage::Waiting(waker);
                place.noter.note("waiting again for bytes", Some(place.demand.bytes() as u64));
                self.waiting.insert(ticket);
                None
            }
        }
    }

    /// Takes back the oldest grant if it was not collected in time and has a number below `before`.
    pub(super) fn take_back(&mut self, before: u64) -> Option<Grant> {
        let (&number, &(ticket, at)) = self.granted.first_key_value()?;
        if number >= before || at.elapsed() < self.collect_within {
            return None;
        }
        self.granted.remove(&number);
        let place = self.places.get_mut(&ticket)?;
        let bytes = place.demand.bytes();
        place.noter.note("absent, the grant was passed on: bytes", Some(bytes as u64));
        self.granted_bytes -= bytes;
        match mem::replace(&mut place.stage, Stage::Absent) {
            Stage::Granted { grant, .. } => Some(grant),
            Stage::Waiting(_) | Stage::Absent => None,
        }
    }
}
