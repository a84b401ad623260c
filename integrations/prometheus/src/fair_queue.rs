use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of turns, for which addresses queue, and not requests: however many wait of one address, another one waits behind one of them.
///
/// # Cancel safety
///
/// Who gives up waiting leaves the queue.
#[derive(Debug)]
pub(crate) struct FairQueue {
    turns: Arc<Semaphore>,
    /// Of each address that waits, one at a time waits for a turn.
    addresses: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    waiting: AtomicUsize,
}

impl FairQueue {
    pub(crate) fn new(turns: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            addresses: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a turn. It is never refused; `None` could only be if the turns were closed, which they are not.
    pub(crate) async fn turn(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let _waiting = Waiting::new(&self.waiting);
        let own = {
            // Nothing panics under the lock.
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            // Those of which nobody waits any more.
            addresses.retain(|_, queue| Arc::strong_count(queue) > 1);
            Arc::clone(addresses.entry(network(address)).or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        let _first = own.acquire().await.ok()?;
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts somebody who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is taken for one: an address, or the part of one that a provider gives to a customer.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::FutureExt;

    #[test]
    fn an_address_waits_behind_one_of_another_and_not_behind_all() {
        let queue = FairQueue::new(1);
        let [many, one]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let turn = queue.turn(many).now_or_never().unwrap();
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(queue.turn(many))).collect();
        for waiting in &mut crowd {
            assert!(waiting.now_or_never().is_none());
        }
        let mut other = Box::pin(queue.turn(one));
        assert!((&mut other).now_or_never().is_none());
        assert_eq!(queue.waiting(), 101);
        drop(turn);
        // The first of the crowd, and then the other one.
        let first = (&mut crowd[0]).now_or_never().unwrap();
        assert!((&mut other).now_or_never().is_none());
        assert!((&mut crowd[1]).now_or_never().is_none());
        drop(first);
        let second = (&mut other).now_or_never().unwrap();
        drop(second);
        // Who gives up does not hold up those behind.
        drop(crowd.remove(1));
        assert!((&mut crowd[1]).now_or_never().unwrap().is_some());
        drop((crowd, other));
        assert_eq!(queue.waiting(), 0);
        drop(queue.turn(one).now_or_never().unwrap());
        assert!(queue.addresses.lock().unwrap().len() <= 1, "addresses are forgotten");
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }
}
