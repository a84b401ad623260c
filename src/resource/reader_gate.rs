use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::ledger::{LeakLedger, LedgerEntry};
use super::ledger_snapshot::Ending;
use super::wake_all::wake_all;
use crate::clock::Moment;
use crate::contain_panic::contain_panic;
use crate::sync::{Mutex, MutexGuard};

/// Counts the readers of something, and lets it be closed when the last of them has gone.
///
/// A block of a store is read by many queries, and can be deleted only when none reads it any more. Each query
/// [enters](Self::enter) the gate and holds a [`ReaderGuard`] for as long as it reads; [`close`](Self::close)
/// lets no new ones in and waits for those that are inside.
///
/// Cloning gives another handle to the same gate. The model is `TaskTracker` of tokio-util: closed *and* empty.
///
/// # Complexity
///
/// Entering, leaving, a poll of a close and giving one up are O(log n) with n readers or closers. The last reader wakes
/// all closers. [`readers`](Self::readers) is O(n).
///
/// # Examples
///
/// ```
/// use losertree::resource::ReaderGate;
///
/// # futures::executor::block_on(async {
/// let gate = ReaderGate::new("block 7");
/// let reader = gate.enter()?;
/// assert_eq!(gate.pending(), 1);
/// drop(reader);
/// gate.close().await;
/// assert!(gate.enter().is_err());
/// # Ok::<_, losertree::resource::GateClosed>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct ReaderGate {
    shared: Arc<Shared>,
}

impl ReaderGate {
    /// Creates an open gate. The name is for errors and the ledger.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self::with_ledger(name, &LeakLedger::off())
    }

    /// Creates an open gate whose readers are recorded in `ledger` while they are inside.
    #[must_use]
    pub fn with_ledger(name: impl Into<Arc<str>>, ledger: &LeakLedger) -> Self {
        let shared = Shared { name: name.into(), ledger: ledger.clone(), state: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Lets a reader in.
    ///
    /// # Errors
    ///
    /// [`GateClosed`] if the gate is closed, or closing.
    #[track_caller]
    pub fn enter(&self) -> Result<ReaderGuard, GateClosed> {
        self.let_in(None, Location::caller())
    }

    /// Lets a reader in who has a name, which [`readers`](Self::readers) tells while it is inside.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter).
    #[track_caller]
    pub fn enter_as(&self, name: impl Into<Arc<str>>) -> Result<ReaderGuard, GateClosed> {
        self.let_in(Some(name.into()), Location::caller())
    }

    fn let_in(
        &self,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Result<ReaderGuard, GateClosed> {
        let mut state = self.lock();
        if state.closed_at.is_some() {
            return Err(GateClosed { name: self.shared.name.clone() });
        }
        let number = state.take_number();
        state.readers.insert(number, Reader { name, location, since: Moment::now() });
        drop(state);
        let entry = self.shared.ledger.open_at(format_args!("reader of {:?}", self.shared.name), location);
        Ok(ReaderGuard { gate: self.clone(), number, entry })
    }

    /// Lets no new readers in, and waits until all have left.
    ///
    /// The gate is closed from the first poll of the future on; until then nothing happens. Can be called any number of
    /// times, by several at once.
    ///
    /// # Cancel safety
    ///
    /// Once it was polled, the gate stays closed if the future is dropped, and another one can wait. So polling it once
    /// closes without waiting.
    pub fn close(&self) -> GateClose {
        GateClose { gate: self.clone(), number: None }
    }

    /// Closes, and waits for the readers for a limited time.
    ///
    /// # Errors
    ///
    /// [`CloseTimeout`] if there are readers left then, with who they are. The gate stays closed.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock, which none has on `wasm32-unknown-unknown`.
    ///
    /// # Cancel safety
    ///
    /// As [`close`](Self::close).
    #[cfg(feature = "tokio")]
    pub async fn close_timeout(&self, limit: Duration) -> Result<(), CloseTimeout> {
        let closed = tokio::time::timeout(limit, self.close()).await;
        let readers = if closed.is_ok() { Vec::new() } else { self.readers() };
        // The last one may have left just now.
        if readers.is_empty() {
            Ok(())
        } else {
            Err(CloseTimeout { name: self.shared.name.clone(), readers })
        }
    }

    /// Returns how many readers are inside.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().readers.len()
    }

    /// Returns whether new readers are turned away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed_at.is_some()
    }

    /// Returns for how long the gate has been closing: closed, with readers inside. `None` before and after.
    #[must_use]
    pub fn closing_for(&self) -> Option<Duration> {
        let state = self.lock();
        let since = state.closed_at.filter(|_| !state.readers.is_empty());
        drop(state);
        since.map(Moment::elapsed)
    }

    /// Whether nobody else can enter or close it any more, and nobody is inside.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_last_handle(&mut self) -> bool {
        Arc::get_mut(&mut self.shared).is_some()
    }

    /// Returns for how long the oldest reader has been inside.
    #[cfg(feature = "metrics")]
    pub(crate) fn oldest_age(&self) -> Option<Duration> {
        let since = self.lock().readers.first_key_value().map(|(_, reader)| reader.since);
        since.map(Moment::elapsed)
    }

    /// Returns who is inside, in the order in which they came.
    #[must_use]
    pub fn readers(&self) -> Vec<PendingReader> {
        let state = self.lock();
        // One time for all, so that who came earlier is not younger.
        let now = Moment::now();
        let pending = |reader: &Reader| PendingReader {
            name: reader.name.clone(),
            location: reader.location,
            age: now.since(reader.since),
        };
        state.readers.values().map(pending).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes, so a poisoned lock has a whole state.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the gate, and returns whether all have left; if not, has `waker` woken when they have.
    fn poll_close(&self, number: &mut Option<u64>, waker: &Waker) -> bool {
        let mut state = self.lock();
        state.closed_at.get_or_insert_with(Moment::now);
        if state.readers.is_empty() {
            return true;
        }
        let registered = number.and_then(|number| state.waiting.get(&number));
        if registered.is_some_and(|registered| registered.will_wake(waker)) {
            return false;
        }
        drop(state);
        // Wakers are not ours: they are cloned and dropped without the lock.
        let waker = waker.clone();
        let mut state = self.lock();
        if state.readers.is_empty() {
            drop(state);
            return true;
        }
        let number = *number.get_or_insert_with(|| state.take_number());
        let replaced = state.waiting.insert(number, waker);
        drop(state);
        drop(replaced);
        false
    }

    fn forget_waiting(&self, number: u64) {
        let left = self.lock().waiting.remove(&number);
        // Without the lock, which was released at the end of the line; and in a drop.
        contain_panic(|| drop(left));
    }

    fn leave(&self, number: u64) {
        let mut state = self.lock();
        let reader = state.readers.remove(&number);
        let woken =
            if state.readers.is_empty() { std::mem::take(&mut state.waiting) } else { BTreeMap::new() };
        drop(state);
        drop(reader);
        wake_all(woken.into_values());
    }
}

impl fmt::Debug for ReaderGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderGate")
            .field("name", &self.shared.name)
            .field("is_closed", &self.is_closed())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// A reader inside of a [`ReaderGate`]. Dropping it leaves.
#[must_use = "a reader that is dropped has left"]
pub struct ReaderGuard {
    gate: ReaderGate,
    number: u64,
    entry: LedgerEntry,
}

impl ReaderGuard {
    /// Notes what the reader does from now on, for the report of the gate's ledger, as [`LedgerEntry::note`] does.
    #[inline]
    pub fn note(&self, doing: &'static str, number: Option<u64>) {
        self.entry.note(doing, number);
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        // The ledger first: whoever is woken by the last reader may look at it.
        self.entry.record(Ending::Closed);
        self.gate.leave(self.number);
    }
}

impl fmt::Debug for ReaderGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderGuard").field("gate", &self.gate.shared.name).finish_non_exhaustive()
    }
}

/// Closes a gate and waits for its last reader. Returned by [`ReaderGate::close`].
#[must_use = "futures do nothing unless polled"]
pub struct GateClose {
    gate: ReaderGate,
    /// The number under which the gate knows the waker.
    number: Option<u64>,
}

impl Future for GateClose {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.gate.poll_close(&mut this.number, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for GateClose {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.gate.forget_waiting(number);
        }
    }
}

impl fmt::Debug for GateClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateClose").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// Somebody who is inside of a [`ReaderGate`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingReader {
    /// The name it gave, if any.
    pub name: Option<Arc<str>>,
    /// The line of code that entered.
    pub location: &'static Location<'static>,
    /// For how long it has been inside.
    pub age: Duration,
}

impl fmt::Display for PendingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("a reader");
        write!(f, "{name}, entered at {}, {:.1?} ago", self.location, self.age)
    }
}

/// A [`ReaderGate`] lets nobody in any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is closed to new readers")]
#[non_exhaustive]
pub struct GateClosed {
    /// The name of the gate.
    pub name: Arc<str>,
}

/// A [`ReaderGate`] was to be closed within a time, and has readers left.
///
/// Printing it names the oldest 16 of them.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} still has {} readers: {}", .readers.len(), ReadersList(.readers))]
#[non_exhaustive]
pub struct CloseTimeout {
    /// The name of the gate.
    pub name: Arc<str>,
    /// Who is still inside, in the order in which they came.
    pub readers: Vec<PendingReader>,
}

/// The oldest readers, separated by semicolons, and how many there are besides.
#[cfg(feature = "tokio")]
struct ReadersList<'a>(&'a [PendingReader]);

#[cfg(feature = "tokio")]
impl ReadersList<'_> {
    const SHOWN: usize = 16;
}

#[cfg(feature = "tokio")]
impl fmt::Display for ReadersList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reader) in self.0.iter().take(Self::SHOWN).enumerate() {
            write!(f, "{}{reader}", if index == 0 { "" } else { "; " })?;
        }
        match self.0.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

struct Shared {
    name: Arc<str>,
    ledger: LeakLedger,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When it was closed first, if it was.
    closed_at: Option<Moment>,
    /// Who is inside, by number of entry.
    readers: BTreeMap<u64, Reader>,
    /// Who waits for the last reader, by number of their future.
    waiting: BTreeMap<u64, Waker>,
    next_number: u64,
}

struct Reader {
    name: Option<Arc<str>>,
    location: &'static Location<'static>,
    since: Moment,
}

impl State {
    const fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }
}
