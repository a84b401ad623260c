//! Connections that are open, of all listeners, and which of them can be closed so that others have room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::fair_queue::network;

/// Connections, in the order in which they began to wait for a request. Where there is no room for another one, one is closed on which no
/// request is answered, so that those that say nothing, or are slow at it, never keep anybody out: the first one of the
/// address that has most of them. Each has a moment to say something.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: usize,
    permits: Arc<Semaphore>,
    receiving_limit: usize,
    /// Bytes of requests that may still come.
    receiving: Arc<Semaphore>,
    open: Mutex<Open>,
    notices: Notices,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, (Instant, Arc<Shared>)>,
}

/// How often it is looked for a connection that can be closed, where there was none.
const LOOK: Duration = Duration::from_millis(50);

/// How long a connection may be silent whoever wants its room: a request is underway, and this machine is busy.
const SILENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Shared {
    network: IpAddr,
    is_closed: Notify,
    /// How many bytes of requests have come that are not whole.
    bytes: AtomicUsize,
    /// How many requests are being answered.
    working: AtomicUsize,
}

impl Connections {
    /// Has room for so many connections, and for so many bytes of requests that are coming.
    pub(crate) fn new(limit: usize, receiving_limit: usize) -> Self {
        Self {
            limit,
            permits: Arc::new(Semaphore::new(limit)),
            receiving_limit,
            receiving: Arc::new(Semaphore::new(receiving_limit.min(Semaphore::MAX_PERMITS))),
            open: Mutex::default(),
            notices: Notices::default(),
        }
    }

    /// Adds a connection of an address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Arc<Connection> {
        let shared = Shared {
            network: network(address),
            is_closed: Notify::new(),
            bytes: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
        };
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
        let mut open = self.lock();
        let mut networks: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        for (number, (since, shared)) in &open.all {
            let is_silent = shared.working.load(Ordering::Relaxed) == 0;
            if is_silent && now.saturating_duration_since(*since) >= SILENCE {
                networks.entry(shared.network).or_insert((0, *number)).0 += 1;
            }
        }
        // Of those that have as many, the one whose first has waited for longest.
        let most = networks.into_values().max_by_key(|(count, first)| (*count, Reverse(*first)));
        most.is_some_and(|(_, first)| open.close(first))
    }

    /// Closes the connection that has waited for longest for the rest of a request, another one than `own`.
    pub(crate) fn make_room_of_requests(&self, own: &Connection) -> bool {
        let mut open = self.lock();
        let slowest = open.all.iter().find(|(_, (_, other))| {
            !Arc::ptr_eq(other, &own.shared) && other.bytes.load(Ordering::Relaxed) > 0
        });
        let slowest = slowest.map(|(number, _)| *number);
        slowest.is_some_and(|number| open.close(number))
    }

    /// Receives the body of a request, of which not more than a limit is kept, and of what is longer so much read as is to be
    /// drained. Breaks others off that have been coming for longer, if there is no room.
    pub(crate) async fn receive<B>(
        &self,
        body: B,
        limits: &Receiving,
        connection: Option<&Connection>,
    ) -> Result<Received, ReceiveError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: fmt::Display,
    {
        let Receiving { bytes: limit, drained_bytes, time } = *limits;
        let receiving = async {
            let mut body = body;
            let mut coming = Coming { connection, bytes: 0 };
            let mut received = Received::default();
            let (mut is_too_long, mut rest) = (false, drained_bytes.max(limit));
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| ReceiveError::Body(error.to_string()))?;
                let Ok(data) = frame.into_data() else { continue };
                if data.len() > rest {
                    return Err(ReceiveError::TooLong { limit });
                }
                rest -= data.len();
                if is_too_long || received.bytes.len() + data.len() > limit {
                    // Whoever sends more than a little too much would not read why it is refused, but have its connection reset.
                    is_too_long = true;
                    received = Received::default();
                    continue;
                }
                let permit = self.room(data.len(), connection).await;
                coming.add(data.len());
                match (&mut received.room.0, permit) {
                    (Some(all), Some(more)) => all.merge(more),
                    (all, more) => *all = more,
                }
                received.bytes.extend_from_slice(&data);
            }
            if is_too_long { Err(ReceiveError::TooLong { limit }) } else { Ok(received) }
        };
        match timeout(time, receiving).await {
            Err(_) => Err(ReceiveError::TooSlow { limit: time }),
            Ok(received) => received,
        }
    }

    /// Waits until there is room for a part of a request, and breaks off others that have been coming for longer.
    async fn room(&self, bytes: usize, connection: Option<&Connection>) -> Option<OwnedSemaphorePermit> {
        // Not more than the limit of a request, which there is room for.
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let receiving = || Arc::clone(&self.receiving);
        let mut room = receiving().try_acquire_many_owned(count).ok();
        while room.is_none() {
            if connection.is_some_and(|own| self.make_room_of_requests(own)) {
                let limit = self.receiving_limit;
                let text = format!(
                    "requests take {limit} bytes, which is the limit, and its own had come for longest"
                );
                self.closed("receiving", &text);
            }
            // One that is closed may not be enough.
            room = timeout(LOOK, receiving().acquire_many_owned(count)).await.ok().and_then(Result::ok);
        }
        room
    }

    /// Says that a connection was closed for a reason: by a metric, and now and then in the log.
    pub(crate) fn closed(&self, reason: &'static str, text: &str) {
        metrics::counter!("losertree_gateway_connections_closed_total", "reason" => reason).increment(1);
        self.notices.put(reason, text);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        lock(&self.open)
    }
}

impl Open {
    fn close(&mut self, number: u64) -> bool {
        let closed = self.all.remove(&number);
        if let Some((_, shared)) = &closed {
            shared.is_closed.notify_one();
        }
        closed.is_some()
    }
}

/// Takes connections from a listener, as many as there is room for.
///
/// # Cancel safety
///
/// One that has come and has no room yet is kept.
pub(crate) struct Acceptor {
    listener: TcpListener,
    connections: Arc<Connections>,
    arrived: Option<(TcpStream, SocketAddr)>,
    /// Whether one was closed for it.
    is_expected: bool,
}

impl Acceptor {
    pub(crate) const fn new(listener: TcpListener, connections: Arc<Connections>) -> Self {
        Self { listener, connections, arrived: None, is_expected: false }
    }

    /// Waits for a client that there is room for. It takes the room as long as the permit is kept.
    pub(crate) async fn next(&mut self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let Connections { limit, ref permits, .. } = *self.connections;
        loop {
            if self.arrived.is_some() && !self.is_expected && permits.available_permits() == 0 {
                self.is_expected = self.connections.make_room();
                if self.is_expected {
                    let text =
                        format!("{limit} are open, which is the limit, and it had sent no request for long");
                    self.connections.closed("connections", &text);
                }
            }
            tokio::select! {
                accepted = self.listener.accept(), if self.arrived.is_none() => match accepted {
                    Ok(client) => self.arrived = Some(client),
                    // Out of file descriptors, most likely.
                    Err(error) => {
                        if self.connections.make_room() {
                            let text = format!("no other one could be accepted: {error}");
                            self.connections.closed("connections", &text);
                        }
                        sleep(LOOK).await;
                    }
                },
                permit = Arc::clone(permits).acquire_owned(), if self.arrived.is_some() => {
                    // The semaphore is never closed.
                    if let (Some((client, address)), Ok(permit)) = (self.arrived.take(), permit) {
                        self.is_expected = false;
                        return (client, address, permit);
                    }
                }
                () = sleep(LOOK), if self.arrived.is_some() && !self.is_expected => {}
            }
        }
    }
}

/// How much of a request is received, and how long that may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiving {
    pub(crate) bytes: usize,
    /// How much of one that is longer is read, and thrown away.
    pub(crate) drained_bytes: usize,
    pub(crate) time: Duration,
}

/// Why a request was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("the request has more than {limit} bytes, which is the limit")]
    TooLong { limit: usize },
    #[error("the request did not come within {limit:?}")]
    TooSlow { limit: Duration },
    #[error("the request cannot be received: {0}")]
    Body(String),
}

/// A request that has come, and the room that it takes.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) room: Room,
}

/// The room that a request takes, as long as this is kept.
#[derive(Debug, Default)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

/// A part of a request that has come, as its connection counts it.
struct Coming<'a> {
    connection: Option<&'a Connection>,
    bytes: usize,
}

impl Coming<'_> {
    fn add(&mut self, bytes: usize) {
        if let Some(connection) = self.connection {
            connection.receive(bytes);
        }
        self.bytes += bytes;
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection {
            connection.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// A connection that is open.
pub(crate) struct Connection {
    all: Arc<Connections>,
    shared: Arc<Shared>,
    /// Its place among all, by when it began to wait for a request.
    number: Mutex<Option<u64>>,
}

impl Connection {
    /// Waits until it has to be closed.
    pub(crate) async fn closed(&self) {
        self.shared.is_closed.notified().await;
    }

    /// Notes bytes of a request that have come.
    fn receive(&self, bytes: usize) {
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A whole request has come. It is not closed as long as what this returns is kept.
    pub(crate) fn work(self: &Arc<Self>) -> Working {
        self.shared.working.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    /// Takes the last place of all.
    fn wait(&self) {
        let mut number = lock(&self.number);
        let mut open = self.all.lock();
        if number.is_some_and(|before| open.all.remove(&before).is_none()) {
            // It has to be closed, and has no place any more.
            return;
        }
        let last = open.next;
        open.next += 1;
        open.all.insert(last, (Instant::now(), Arc::clone(&self.shared)));
        *number = Some(last);
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
        if self.0.shared.working.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.wait();
        }
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
        let all = Arc::new(Connections::new(8, 8));
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
    fn one_that_answers_several_requests_works_until_all_are_answered() {
        let all = Arc::new(Connections::new(8, 8));
        let one = all.enter(address(1));
        let make_room = || all.make_room_at(Instant::now() + SILENCE);
        let (first, second) = (one.work(), one.work());
        drop(first);
        assert!(!make_room());
        drop(second);
        assert!(make_room() && is_closed(&one));
        // It is not opened again by what it still does.
        drop(one.work());
        assert!(!make_room());
        drop(one);
        assert!(all.lock().all.is_empty());
    }

    #[test]
    fn an_address_that_has_most_of_them_makes_room() {
        let all = Arc::new(Connections::new(8, 8));
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
        let all = Arc::new(Connections::new(8, 8));
        let [silent, slow, own] = [(); 3].map(|()| all.enter(address(1)));
        own.receive(1);
        assert!(!all.make_room_of_requests(&own), "nobody is closed for itself");
        slow.receive(1);
        assert!(all.make_room_of_requests(&own));
        assert!(is_closed(&slow) && !is_closed(&silent) && !is_closed(&own));
        assert!(!all.make_room_of_requests(&own));
    }
}
