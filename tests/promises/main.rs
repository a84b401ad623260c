//! The promises P1 to P16 of DESIGN.md, one module or more for each.

// A test fails by panicking; quickcheck hands over its inputs by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod p10_allocations;
mod p10_cost;
mod p11_laziness;
mod p12_cooperation;
mod p13_bad_input;
mod p13_panicking_keys;
mod p13_panics;
mod p14_composition;
mod p15_nothing_kept;
mod p16_what_is_open;
mod p1_order;
mod p2_released_once;
mod p3_close;
mod p4_end_means_closed;
mod p5_drop;
mod p6_no_runtime;
mod p7_cancel_safety;
mod p8_errors_end_it;
mod p9_no_busy_waiting;
mod panics;
#[path = "../shared/probe.rs"]
mod probe;
