//! The async merge over scripted sources, driven by a schedule, to whichever end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use losertree_fuzz::let_scripted_panics_unwind;
use losertree_fuzz::schedule::{Plan, play};

fuzz_target!(init: let_scripted_panics_unwind(), |plan: Plan| play(&plan));
