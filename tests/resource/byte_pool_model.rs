//! The pool beside its model, under random steps of its users.

use losertree_testkit::{PoolStep, PoolTrial};
use quickcheck::{Gen, QuickCheck};

fn is_as_the_model_says(kind: u8, steps: Vec<PoolStep>) -> bool {
    let mut trial = PoolTrial::new(kind);
    for step in steps {
        trial.step(step);
    }
    trial.finish();
    true
}

// F1, F9, F32, F33, F38, F46, F47, F49
#[test]
fn every_figure_is_exact_after_every_step() {
    QuickCheck::new()
        .tests(2_000)
        .rng(Gen::new(150))
        .quickcheck(is_as_the_model_says as fn(u8, Vec<PoolStep>) -> bool);
}
