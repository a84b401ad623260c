//! The pool of bytes: budget, buffers, ledger. `byte_pool_model.rs` has the metrics, `lease_wait.rs` the queue.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use losertree::LeakLedger;
use losertree::resource::{ByteLease, BytePool, BytePoolBuilder, LeaseFull, PoolConfigError, PoolError};

/// Sizes of 16, 32, 64 and 100 bytes.
fn pool(budget: usize) -> BytePool {
    small().budget_bytes(budget).build().expect("the options fit together")
}

fn small() -> BytePoolBuilder {
    BytePool::builder().smallest_bytes(16).largest_bytes(100)
}

// F49
#[test]
fn what_is_charged_is_the_capacity() {
    let pool = pool(1_000);
    for (len, capacity) in [(0, 16), (1, 16), (16, 16), (17, 32), (32, 32), (33, 64), (65, 100), (100, 100)] {
        let lease = pool.try_lease(len).unwrap();
        assert_eq!((lease.capacity(), lease.remaining(), lease.len()), (capacity, capacity, 0));
        assert_eq!(pool.snapshot().used_bytes, capacity);
    }
    assert_eq!(pool.snapshot().used_bytes, 0);
    assert_eq!(pool.budget_bytes(), 1_000);
}

// F49: 17 bytes would be left, but not 32.
#[test]
fn what_is_admitted_is_what_is_charged() {
    let pool = pool(100 + 31);
    let _held = pool.try_lease(100).unwrap();
    let before = pool.snapshot();
    let error = pool.try_lease(17).unwrap_err();
    let expected =
        PoolError::Exhausted { charge_bytes: 32, available_bytes: 31, budget_bytes: 131, waiting: 0 };
    assert_eq!(format!("{error:?}"), format!("{expected:?}"));
    assert_eq!(
        error.to_string(),
        "the pool cannot give 32 bytes now: 31 of 131 are left, and 0 wait and come first"
    );
    let after = pool.snapshot();
    assert_eq!((after.refusals.count, after.refusals.bytes), (1, 32));
    assert_eq!((after.used_bytes, after.gets, after.outstanding), (100, before.gets, 1));
    assert_eq!(pool.try_lease(16).unwrap().capacity(), 16);
}

#[test]
fn a_lease_above_the_largest_is_an_error_of_its_own() {
    let pool = pool(1_000);
    let before = pool.snapshot();
    for len in [101, usize::MAX] {
        let error = pool.try_lease(len).unwrap_err();
        assert!(
            matches!(error, PoolError::TooLarge { requested_bytes, largest_bytes: 100, .. } if requested_bytes == len)
        );
    }
    assert_eq!(pool.snapshot(), before, "nothing was changed");
    assert_eq!(
        pool.try_lease(101).unwrap_err().to_string(),
        "101 bytes are more than the pool has for one holder, 100 bytes"
    );
}

#[test]
fn options_that_contradict_each_other() {
    let build = |smallest, largest, factor, budget| {
        let builder = BytePool::builder().smallest_bytes(smallest).largest_bytes(largest);
        builder.growth_factor(factor).budget_bytes(budget).build().map(|pool| pool.budget_bytes())
    };
    let huge = BytePoolBuilder::LARGEST_BYTES + 1;
    for (smallest, largest) in
        [(0, 0), (0, 10), (11, 10), (1, huge), (huge, huge), (1, usize::MAX / 2), (1, usize::MAX)]
    {
        let error = build(smallest, largest, 2, usize::MAX).unwrap_err();
        assert!(
            matches!(error, PoolConfigError::Sizes { smallest: s, largest: l, .. } if (s, l) == (smallest, largest))
        );
        assert!(error.to_string().starts_with(&format!("buffers of {smallest} to {largest} bytes")));
    }
    for factor in [0, 1] {
        let error = build(1, 10, factor, 10).unwrap_err();
        assert!(matches!(error, PoolConfigError::GrowthFactor { factor: f, .. } if f == factor));
        assert_eq!(error.to_string(), format!("the growth factor {factor} is below 2"));
    }
    let error = build(1, 10, 2, 9).unwrap_err();
    assert!(matches!(error, PoolConfigError::Budget { budget: 9, largest: 10, .. }));
    assert_eq!(error.to_string(), "the budget of 9 bytes does not allow for one buffer of 10 bytes");
    // The limits themselves are allowed.
    assert_eq!(build(1, 1, 2, 1), Ok(1));
    assert_eq!(build(10, 10, usize::MAX, 10), Ok(10));
    assert_eq!(build(1, huge - 1, 2, usize::MAX), Ok(usize::MAX));
}

/// More than there is memory for. The budget is there, so only the allocator can tell.
#[cfg(target_pointer_width = "64")]
#[test]
fn what_the_allocator_refuses_is_an_error_and_not_charged() {
    let ledger = LeakLedger::counts();
    let huge = BytePoolBuilder::LARGEST_BYTES;
    let pool = BytePool::builder().smallest_bytes(16).largest_bytes(huge).budget_bytes(huge).ledger(&ledger);
    let pool = pool.build().unwrap();
    let assert_refused = |error: PoolError, charge| {
        assert!(matches!(error, PoolError::OutOfMemory { charge_bytes, .. } if charge_bytes == charge));
        assert_eq!(error.to_string(), format!("the allocator has no {charge} bytes for a buffer"));
        let figures = pool.snapshot();
        assert_eq!((figures.used_bytes, figures.outstanding, figures.allocations.count), (0, 0, 0));
        assert_eq!((figures.gets, figures.waiting, figures.uncollected), (figures.puts, 0, 0));
    };
    assert_refused(pool.try_lease(huge).unwrap_err(), huge);
    assert_refused(futures::executor::block_on(pool.lease(huge - 1)).unwrap_err(), huge);

    let mut lease = pool.try_lease(16).unwrap();
    lease.extend_from_slice(b"sixteen at most.").unwrap();
    let error = lease.try_resize(huge).unwrap_err();
    assert!(matches!(error, PoolError::OutOfMemory { .. }), "{error}");
    assert_eq!((&*lease, lease.capacity(), pool.snapshot().used_bytes), (&b"sixteen at most."[..], 16, 16));

    // Whoever waits behind it is let in.
    let mut waits = [pool.lease(huge), pool.lease(16)];
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut waits[0]).poll(&mut cx).is_pending());
    assert!(Pin::new(&mut waits[1]).poll(&mut cx).is_pending());
    drop(lease);
    assert!(Pin::new(&mut waits[1]).poll(&mut cx).is_pending());
    let Poll::Ready(refused) = Pin::new(&mut waits[0]).poll(&mut cx) else { panic!("it was granted") };
    assert!(matches!(refused, Err(PoolError::OutOfMemory { .. })));
    assert!(Pin::new(&mut waits[1]).poll(&mut cx).is_ready());
    ledger.assert_all_closed();
}

#[test]
fn defaults_are_as_documented() {
    let pool = BytePool::builder().build().unwrap();
    assert_eq!(pool.budget_bytes(), 64 << 20);
    assert_eq!(pool.try_lease(0).unwrap().capacity(), 1 << 10);
    assert_eq!(pool.try_lease((1 << 10) + 1).unwrap().capacity(), 2 << 10);
    assert_eq!(pool.try_lease(1 << 20).unwrap().capacity(), 1 << 20);
    assert!(pool.try_lease((1 << 20) + 1).is_err());
}

#[test]
fn filling_stops_at_the_capacity_and_never_allocates() {
    let pool = pool(1_000);
    let mut lease = pool.try_lease(20).unwrap();
    let address = lease.as_ptr();
    let counted = allocation_counter::measure(|| {
        lease.extend_from_slice(&[1; 20]).unwrap();
        assert_eq!(lease.extend_from_slice(&[2; 13]).unwrap_err().excess_bytes, 1);
        assert_eq!((lease.len(), lease.remaining()), (20, 12));
        lease.extend_from_slice(&[3; 12]).unwrap();
        assert_eq!(lease.write(b"x").unwrap(), 0);
        assert_eq!(lease.set_len(33).unwrap_err().excess_bytes, 1);
        lease.set_len(30).unwrap();
        assert_eq!(lease.write(b"abc").unwrap(), 2);
        lease.set_len(10).unwrap();
        lease.set_len(32).unwrap();
        lease.flush().unwrap();
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(lease.as_ptr(), address);
    assert_eq!(lease[..10], [1; 10]);
    assert_eq!(lease[10..], [0; 22], "what is made longer is zero, whatever was there");
    assert_eq!(lease.write_all(b"x").unwrap_err().kind(), io::ErrorKind::WriteZero);
    lease[0] = 9;
    assert_eq!(lease.as_ref()[..2], [9, 1]);
    lease.clear();
    assert_eq!((lease.len(), lease.capacity()), (0, 32));
    let full: LeaseFull = lease.extend_from_slice(&[0; 40]).unwrap_err();
    assert_eq!(full.to_string(), "8 bytes too many for the lease");
    assert_eq!(format!("{lease:?}"), "ByteLease { len: 0, capacity: 32, .. }");
}

/// Gives its bytes one by one, is interrupted before each, and looks at the memory that it is given.
struct Peeping<'a> {
    bytes: &'a [u8],
    is_interrupted: bool,
}

impl Read for Peeping<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        assert!(into.iter().all(|byte| *byte != 0xAA), "bytes of the last holder can be seen");
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let piece = into.len().min(1);
        self.bytes.read(&mut into[..piece])
    }
}

#[test]
fn reading_fills_in_and_never_allocates() {
    for capacity in [1, 5, 31, 32, 33, 64, 100, 10_000, 100_000] {
        let pool =
            BytePool::builder().smallest_bytes(capacity).largest_bytes(capacity).budget_bytes(capacity);
        let pool = pool.build().unwrap();
        let mut lease = pool.try_lease(capacity).unwrap();
        lease.set_len(capacity).unwrap();
        lease.fill(0xAA);
        let address = lease.as_ptr();
        drop(lease);

        let data: Vec<u8> = (0..=capacity).map(|i| u8::try_from(i % 100).unwrap()).collect();
        let mut lease = pool.try_lease(capacity).unwrap();
        assert_eq!(lease.as_ptr(), address, "the buffer is used again");
        assert!(lease.is_empty());
        let first = capacity / 3;
        let mut reader = Peeping { bytes: &data, is_interrupted: false };
        let mut fast = &data[first..];
        let counted = allocation_counter::measure(|| {
            lease.read_from(&mut reader, first).unwrap();
            lease.read_from(&mut fast, capacity - first).unwrap();
        });
        assert_eq!(counted.count_total, 0, "{capacity}");
        assert_eq!((reader.bytes.len(), fast.len()), (data.len() - first, 1), "nothing is read too much");
        assert_eq!(*lease, data[..capacity]);
        assert_eq!(lease.as_ptr(), address);
        lease.read_from(&mut fast, 0).unwrap();
        assert_eq!((lease.remaining(), fast.len()), (0, 1));
    }
}

#[test]
fn readers_that_end_fail_or_panic() {
    struct Fails(usize);
    impl Read for Fails {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("gone"))?;
            into[0] = 7;
            Ok(1)
        }
    }
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(8);
            resume_unwind(Box::new("no"))
        }
    }
    let pool = pool(100);
    let mut lease = pool.try_lease(100).unwrap();
    lease.extend_from_slice(b"ab").unwrap();
    assert_eq!(lease.read_from(&b"cde"[..], 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(*lease, *b"abcde");
    assert_eq!(lease.read_from(Fails(2), 5).unwrap_err().to_string(), "gone");
    assert_eq!(*lease, *b"abcde\x07\x07");
    let error = lease.read_from(Fails(0), 94).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let full = error.get_ref().and_then(|error| error.downcast_ref::<LeaseFull>()).unwrap();
    assert_eq!(full.excess_bytes, 1);
    assert!(catch_unwind(AssertUnwindSafe(|| lease.read_from(Panics, 50))).is_err());
    assert_eq!(*lease, *b"abcde\x07\x07");
    drop(lease);
    assert_eq!((pool.snapshot().used_bytes, pool.snapshot().idle_bytes), (0, 100));
}

// F3
#[test]
fn frozen_bytes_hold_the_buffer_until_the_last_of_them_is_gone() {
    let pool = pool(100);
    let mut lease = pool.try_lease(100).unwrap();
    lease.extend_from_slice(b"series").unwrap();
    let address = lease.as_ptr();
    let bytes = lease.freeze();
    assert_eq!(bytes.as_ptr(), address, "nothing is copied");
    let part = bytes.slice(2..4);
    let other = bytes.clone();
    drop(bytes);
    drop(other);
    assert_eq!(pool.snapshot().used_bytes, 100);
    assert!(pool.try_lease(1).is_err());
    assert_eq!(part, "ri");
    drop(part);
    assert_eq!(pool.snapshot().used_bytes, 0);
    assert!(pool.try_lease(100).unwrap().is_empty());
}

#[test]
fn changing_the_size() {
    let pool = pool(132);
    let mut lease = pool.try_lease(10).unwrap();
    lease.extend_from_slice(b"abcdefghijklmnop").unwrap();
    lease.try_resize(30).unwrap();
    assert_eq!((lease.capacity(), &*lease), (32, &b"abcdefghijklmnop"[..]));
    lease.set_len(32).unwrap();
    assert_eq!(lease[16..], [0; 16]);
    lease.try_resize(32).unwrap();
    assert_eq!(pool.snapshot().gets.bytes, 32);

    let other = pool.try_lease(64).unwrap();
    let error = lease.try_resize(100).unwrap_err();
    assert!(matches!(error, PoolError::Exhausted { charge_bytes: 68, available_bytes: 36, .. }), "{error}");
    assert!(matches!(lease.try_resize(101), Err(PoolError::TooLarge { requested_bytes: 101, .. })));
    assert_eq!((lease.capacity(), lease.len()), (32, 32), "the lease is as it was");
    drop(other);
    lease.try_resize(100).unwrap();
    assert_eq!(pool.snapshot().idle_bytes, 0, "the idle buffer had to go");

    lease.try_resize(3).unwrap();
    assert_eq!((lease.capacity(), &*lease), (16, &b"abcdefghijklmnop"[..]));
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, figures.peak_bytes, figures.outstanding), (16, 100, 1));
    drop(lease);
    // It came back as a small buffer.
    let _large = pool.try_lease(100).unwrap();
    let counted = allocation_counter::measure(|| assert_eq!(pool.try_lease(16).unwrap().capacity(), 16));
    assert_eq!(counted.count_total, 0);
}

// F33
#[test]
fn what_is_given_back_is_freed() {
    let pool = BytePool::builder().largest_bytes(1 << 20).budget_bytes(2 << 20).build().unwrap();
    let counted = allocation_counter::measure(|| {
        let mut lease = pool.try_lease(1 << 20).unwrap();
        lease.try_resize(1 << 10).unwrap();
        std::mem::forget(lease);
    });
    assert!(counted.bytes_current < 2 << 10, "shrinking frees: {}", counted.bytes_current);
    let pool = BytePool::builder().smallest_bytes(64 << 10).largest_bytes(100 << 10).build().unwrap();
    let counted = allocation_counter::measure(|| {
        let mut lease = pool.try_lease(1).unwrap();
        lease.try_resize(100 << 10).unwrap();
        std::mem::forget(lease);
    });
    assert!(
        counted.bytes_current <= 100 << 10,
        "growing allocates what is charged: {}",
        counted.bytes_current
    );
    let pool = BytePool::builder().largest_bytes(1 << 20).budget_bytes(2 << 20).build().unwrap();
    let counted = allocation_counter::measure(|| {
        for len in [1 << 10, 1 << 20, 3 << 10, 1 << 19, 1 << 18, 1 << 20, 1 << 19] {
            let both = [pool.try_lease(len).unwrap(), pool.try_lease(len).unwrap()];
            drop(both);
            let figures = pool.snapshot();
            assert!(figures.idle_bytes <= 2 << 20);
        }
        let idle = pool.snapshot().idle_bytes;
        assert!(idle > 0);
        pool.trim();
        assert_eq!(pool.snapshot().idle_bytes, 0);
        drop(pool);
    });
    assert!(counted.bytes_max <= (2 << 20) + (4 << 10), "held at most: {}", counted.bytes_max);
    assert!(counted.bytes_current <= 0, "everything is freed with the pool: {}", counted.bytes_current);
}

#[test]
fn a_lease_and_its_return_allocate_nothing() {
    for ledger in [LeakLedger::off(), LeakLedger::counts()] {
        let pool = small().ledger(&ledger).build().unwrap();
        drop([pool.try_lease(10).unwrap(), pool.try_lease(20).unwrap()]);
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                drop([pool.try_lease(10).unwrap(), pool.try_lease(20).unwrap()]);
            }
        });
        assert_eq!(counted.count_total, 0);
        assert_eq!(pool.snapshot().allocations.count, 2);
    }
}

#[test]
fn leases_outlive_all_handles_of_the_pool() {
    let counted = allocation_counter::measure(|| {
        let pool = pool(100);
        let mut lease = pool.clone().try_lease(50).unwrap();
        let wait = pool.lease(10);
        drop(pool);
        lease.extend_from_slice(b"still here").unwrap();
        let bytes = lease.freeze();
        drop(wait);
        assert_eq!(bytes, "still here");
    });
    assert_eq!(counted.bytes_current, 0);
}

// F1, F9
#[test]
fn the_ledger_says_who_has_not_returned_what() {
    let ledger = LeakLedger::sites();
    let pool = small().ledger(&ledger).build().unwrap();
    let line = line!() + 1;
    let lease = pool.try_lease(50).unwrap();
    let wait = pool.lease(10);
    assert_eq!(ledger.snapshot().open, 1, "who waits holds nothing");
    let waited = futures::executor::block_on(wait).unwrap();
    let bytes = lease.freeze();
    let open = ledger.snapshot().open_entries;
    let told: Vec<_> = open.iter().map(|open| (&*open.what, open.location.line())).collect();
    assert_eq!(told, [("lease of 64 bytes", line), ("lease of 16 bytes", line + 1)]);
    assert!(open.iter().all(|open| open.location.file() == file!()));
    assert!(catch_unwind(|| ledger.assert_balanced()).is_err());
    drop(waited);
    drop(bytes.clone());
    assert_eq!(ledger.snapshot().open, 1);
    drop(bytes);
    assert!(pool.try_lease(101).is_err());
    ledger.assert_balanced();
    let record = ledger.snapshot();
    assert_eq!((record.opened, record.closed), (2, 2), "a refused lease is not recorded");
}

// F38: there is no `put`, and a lease cannot be copied.
#[test]
fn a_lease_is_returned_once() {
    trait IsNotClone<Marker> {
        fn holds() {}
    }
    impl<T> IsNotClone<()> for T {}
    impl<T: Clone> IsNotClone<u8> for T {}
    // Would be ambiguous, and not compile, if a lease were `Clone`.
    <ByteLease as IsNotClone<_>>::holds();
}
