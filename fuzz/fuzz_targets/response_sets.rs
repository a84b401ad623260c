//! Queries to scripted stores, driven by a schedule, to whichever end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use losertree_fuzz::sets::{Plan, play};

fuzz_target!(|plan: Plan| play(&plan));
