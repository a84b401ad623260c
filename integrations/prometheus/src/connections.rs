//! Connections that are open, and which of them can be closed so that others have room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::fair_queue::network;

/// Connections on which no whole request has come yet, in the order in which they began to wait for one. Where there is no room for
/// another one, one of them is closed, so that those that say nothing, or are slow at it, never keep anybody out: the first one of the
/// address that has most of them. Each has a moment to say something.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    silent: Mutex<Silent>,
    notices: Notices,
}

#[derive(Debug, Default)]
struct Silent {
    next: u64,
    all: BTreeMap<u64, (Instant, Arc<Shared>)>,
}

/// How long a connection may be silent whoever wants its room: a request is underway, and this machine is busy.
const SILENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Shared {
    network: IpAddr,
    is_closed: Notify,
    /// How many bytes of a request have come.
    bytes: AtomicUsize,
}

impl Connections {
    /// Adds a connection of an address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Arc<Connection> {
        let shared =
            Shared { network: network(address), is_closed: Notify::new(), bytes: AtomicUsize::new(0) };
        let connection =
            Connection { all: Arc::clone(self), shared: Arc::new(shared), number: Mutex::new(None) };
        connection.wait();
        Arc::new(connection)
    }

    /// Closes a connection that has waited for a request; returns whether there is one.
    pub(crate) fn make_room(&self) -> bool {
        self.make_room_at(Instant::now())
    }

    fn make_room_at(&self, now: Instant) -> bool {
        let mut silent = self.lock();
        let mut networks: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        for (number, (since, shared)) in &silent.all {
            if now.saturating_duration_since(*since) >= SILENCE {
                networks.entry(shared.network).or_insert((0, *number)).0 += 1;
            }
        }
        // Of those that have as many, the one whose first has waited for longest.
        let most = networks.into_values().max_by_key(|(count, first)| (*count, Reverse(*first)));
        most.is_some_and(|(_, first)| silent.close(first))
    }

    /// Closes the connection that has waited for longest for the rest of a request, another one than `own`.
    pub(crate) fn make_room_of_requests(&self, own: &Connection) -> bool {
        let mut silent = self.lock();
        let slowest = silent.all.iter().find(|(_, (_, other))| {
            !Arc::ptr_eq(other, &own.shared) && other.bytes.load(Ordering::Relaxed) > 0
        });
        let slowest = slowest.map(|(number, _)| *number);
        slowest.is_some_and(|number| silent.close(number))
    }

    /// Says that a connection was closed for a reason: by a metric, and now and then in the log.
    pub(crate) fn closed(&self, reason: &'static str, text: &str) {
        metrics::counter!("losertree_gateway_connections_closed_total", "reason" => reason).increment(1);
        self.notices.put(reason, text);
    }

    fn lock(&self) -> MutexGuard<'_, Silent> {
        lock(&self.silent)
    }
}

impl Silent {
    fn close(&mut self, number: u64) -> bool {
        let closed = self.all.remove(&number);
        if let Some((_, shared)) = &closed {
            shared.is_closed.notify_one();
        }
        closed.is_some()
    }
}

/// A connection that is open.
pub(crate) struct Connection {
    all: Arc<Connections>,
    shared: Arc<Shared>,
    /// Its place among those on which no whole request has come.
    number: Mutex<Option<u64>>,
}

impl Connection {
    /// Waits until it has to be closed.
    pub(crate) async fn closed(&self) {
        self.shared.is_closed.notified().await;
    }

    /// Notes bytes of a request that have come.
    pub(crate) fn receive(&self, bytes: usize) {
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A whole request has come. It is not closed as long as what this returns is kept.
    pub(crate) fn work(self: &Arc<Self>) -> Working {
        self.leave();
        Working(Arc::clone(self))
    }

    fn wait(&self) {
        self.shared.bytes.store(0, Ordering::Relaxed);
        let mut silent = self.all.lock();
        let number = silent.next;
        silent.next += 1;
        silent.all.insert(number, (Instant::now(), Arc::clone(&self.shared)));
        *lock(&self.number) = Some(number);
    }

    fn leave(&self) {
        let number = lock(&self.number).take();
        if let Some(number) = number {
            self.all.lock().all.remove(&number);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Working(Arc<Connection>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// How often the log says the same.
const PAUSE: Duration = Duration::from_secs(10);

/// What the log says, not more often than it can be read.
#[derive(Debug, Default)]
struct Notices(Mutex<HashMap<&'static str, Notice>>);

#[derive(Debug)]
struct Notice {
    last: Instant,
    /// How often it was not said since.
    unsaid: u64,
}

impl Notices {
    fn put(&self, reason: &'static str, text: &str) {
        let mut all = lock(&self.0);
        let now = Instant::now();
        let more = match all.get_mut(reason) {
            Some(notice) if now.duration_since(notice.last) < PAUSE => {
                notice.unsaid += 1;
                return;
            }
            Some(notice) => std::mem::replace(notice, Notice { last: now, unsaid: 0 }).unsaid,
            None => {
                all.insert(reason, Notice { last: now, unsaid: 0 });
                0
            }
        };
        drop(all);
        let others = if more == 0 { String::new() } else { format!(" ({more} others since the last word)") };
        eprintln!("warning: a connection was closed: {text}{others}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn is_closed(connection: &Connection) -> bool {
        connection.closed().now_or_never().is_some()
    }

    #[test]
    fn who_has_waited_longest_is_closed_and_nobody_who_is_answered() {
        let start = Instant::now();
        let all = Arc::new(Connections::default());
        let [first, second, third] = [(); 3].map(|()| all.enter(address(1)));
        assert!(!all.make_room_at(start), "each has a moment");
        let make_room = || all.make_room_at(Instant::now() + SILENCE);
        let working = first.work();
        assert!(make_room());
        assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&third));
        // Answered, it waits behind all others.
        drop(working);
        assert!(make_room());
        assert!(is_closed(&third) && !is_closed(&first));
        assert!(make_room());
        assert!(is_closed(&first));
        assert!(!make_room());
        drop((first, second, third));
        assert!(all.lock().all.is_empty());
    }

    #[test]
    fn an_address_that_has_most_of_them_makes_room() {
        let all = Arc::new(Connections::default());
        let other = all.enter(address(1));
        let many: Vec<_> = (0..5).map(|_| all.enter(address(2))).collect();
        let make_room = || all.make_room_at(Instant::now() + SILENCE);
        for number in 0..4 {
            assert!(make_room());
            assert_eq!(many.iter().position(|one| is_closed(one)), Some(number));
        }
        assert!(!is_closed(&other));
        // Of two that have as many, the one that has waited for longest.
        assert!(make_room());
        assert!(is_closed(&other) && !is_closed(&many[4]));
    }

    #[test]
    fn who_has_sent_a_part_for_longest_makes_room_for_requests() {
        let all = Arc::new(Connections::default());
        let [silent, slow, own] = [(); 3].map(|()| all.enter(address(1)));
        own.receive(1);
        assert!(!all.make_room_of_requests(&own), "nobody is closed for itself");
        slow.receive(1);
        assert!(all.make_room_of_requests(&own));
        assert!(is_closed(&slow) && !is_closed(&silent) && !is_closed(&own));
        assert!(!all.make_room_of_requests(&own));
    }
}
