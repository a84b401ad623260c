//! What a pool says is held for long: what was lost, all of it, and nothing else, under any load.

use std::collections::BTreeMap;
use std::time::Duration;

use losertree::resource::{BytePool, BytePoolBuilder};
use losertree_testkit::{Random, poll_times};

const LEASE: usize = 1 << 10;

fn builder() -> BytePoolBuilder {
    // Each look counts, so no test waits.
    BytePool::builder().smallest_bytes(LEASE).budget_bytes(1 << 30).long_held_after(Duration::ZERO)
}

fn looks_say(pool: &BytePool, expected: [usize; 3]) {
    assert_eq!([(); 3].map(|()| pool.snapshot().long_held_bytes), expected);
}

/// Leases in each minute, by the minute.
type Load = fn(u32) -> f64;

const LOADS: [(&str, Load); 6] = [
    ("constant", |_| 100.0),
    ("rising by 6 % in half an hour", |minute| 20.0 * 1.06_f64.powf(f64::from(minute) / 30.0)),
    ("falling by 6 % in half an hour", |minute| 200.0 * 0.94_f64.powf(f64::from(minute) / 30.0)),
    ("daily", |minute| 100.0 - 90.0 * (f64::from(minute) / 1440.0 * std::f64::consts::TAU).cos()),
    ("daily, and more each day", |minute| {
        let days = f64::from(minute) / 1440.0;
        (1.0 + days) * 50.0f64.mul_add(-(days * std::f64::consts::TAU).cos(), 60.0)
    }),
    ("in bursts", |minute| if minute % 40 < 8 { 500.0 } else { 5.0 }),
];

/// Two days of leases of one to fourteen minutes, of which one in so many is lost. A look each quarter of an hour.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn serve(load: Load, one_lost_in: Option<u64>) -> (Vec<usize>, Vec<usize>) {
    let pool = builder().build().expect("a pool");
    let mut random = Random::seed(63);
    let mut out = BTreeMap::<u32, Vec<_>>::new();
    let (mut lost, mut lost_by_look, mut said) = (Vec::new(), Vec::new(), Vec::new());
    let mut leases = 0_u64;
    for minute in 0..2 * 1440 {
        out.remove(&minute);
        for _ in 0..load(minute) as u32 {
            let lease = pool.try_lease(LEASE).expect("there is room");
            leases += 1;
            if one_lost_in.is_some_and(|one_in| leases.is_multiple_of(one_in)) {
                lost.push(lease);
            } else {
                out.entry(minute + 1 + random.below(14) as u32).or_default().push(lease);
            }
        }
        if minute % 15 == 14 {
            lost_by_look.push(lost.len() * LEASE);
            said.push(pool.snapshot().long_held_bytes);
        }
    }
    (lost_by_look, said)
}

// F63
#[test]
fn no_load_is_taken_for_a_leak() {
    for (name, load) in LOADS {
        let (_, said) = serve(load, None);
        assert!(said.len() > 190 && said.iter().all(|bytes| *bytes == 0), "{name}: {said:?}");
    }
}

// F63
#[test]
fn all_that_was_lost_counts_from_the_second_look_on() {
    for (name, load) in LOADS {
        let (lost, said) = serve(load, Some(1000));
        assert!(lost[lost.len() - 2] > 50 * LEASE, "{name}: little was lost");
        assert_eq!(said[0], 0, "{name}");
        // What was lost before a look was held throughout when the next one comes.
        assert_eq!(said[1..], lost[..lost.len() - 1], "{name}");
    }
}

#[test]
fn nothing_is_held_for_long_before_its_time() {
    let pool = builder().long_held_after(Duration::MAX).build().expect("a pool");
    let _lease = pool.try_lease(LEASE).expect("there is room");
    looks_say(&pool, [0, 0, 0]);
    let pool = BytePool::builder().build().expect("a pool");
    let _lease = pool.try_lease(LEASE).expect("there is room");
    looks_say(&pool, [0, 0, 0]);
}

#[test]
fn printing_is_no_look() {
    let pool = builder().build().expect("a pool");
    let _lease = pool.try_lease(LEASE).expect("there is room");
    for _ in 0..3 {
        assert!(format!("{pool:?}").contains("long_held_bytes: 0"));
    }
    looks_say(&pool, [0, LEASE, LEASE]);
}

#[test]
fn what_comes_back_is_taken_off_at_once() {
    let pool = builder().build().expect("a pool");
    let mut leases = [(); 3].map(|()| pool.try_lease(2 * LEASE).expect("there is room"));
    looks_say(&pool, [0, 6 * LEASE, 6 * LEASE]);
    leases[0].try_resize(LEASE).expect("it shrinks");
    leases[1].try_resize(4 * LEASE).expect("there is room");
    let [first, second, third] = leases;
    drop(third.freeze());
    // What the second has grown by is new.
    looks_say(&pool, [3 * LEASE, 5 * LEASE, 5 * LEASE]);
    drop((first, second));
    looks_say(&pool, [0, 0, 0]);
}

#[test]
fn of_a_reservation_counts_what_it_never_went_below() {
    let pool = builder().build().expect("a pool");
    let mut received = pool.reservation();
    received.try_grow(100).expect("there is room");
    looks_say(&pool, [0, 100, 100]);
    received.shrink(70);
    received.try_grow(50).expect("there is room");
    looks_say(&pool, [30, 80, 80]);
    for _ in 0..5 {
        received.shrink(80);
        received.try_grow(80).expect("there is room");
        assert_eq!(pool.snapshot().long_held_bytes, 0);
    }
    drop(received);
    looks_say(&pool, [0, 0, 0]);
}

/// It is held since it was granted, not since it was collected.
#[test]
fn what_is_not_collected_is_held() {
    let pool = builder().budget_bytes(1 << 20).collect_within(Duration::MAX).build().expect("a pool");
    let all = pool.try_lease(1 << 20).expect("there is room");
    let Err(wait) = poll_times(pool.lease(LEASE), 1) else { panic!("there is no room") };
    drop(all);
    looks_say(&pool, [0, LEASE, LEASE]);
    let Ok(lease) = poll_times(wait, 1) else { panic!("it was granted") };
    looks_say(&pool, [LEASE; 3]);
    drop(lease);
    looks_say(&pool, [0, 0, 0]);
}
