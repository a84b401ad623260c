//! The async merge of batches over scripted sources, driven by a schedule, to whichever end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use losertree_fuzz::batches::{Plan, play};
use losertree_fuzz::let_scripted_panics_unwind;

fuzz_target!(init: let_scripted_panics_unwind(), |plan: Plan| play(&plan));
