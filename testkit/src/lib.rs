//! What the tests, benchmarks and fuzz targets of `losertree` have in common.

pub mod inputs;
mod item;
mod oracle;
mod random;
mod runs;
mod test_key;

pub use item::Item;
pub use oracle::{assert_merged, assert_merged_by, assert_same, merged, merged_by};
pub use random::Random;
pub use runs::Runs;
pub use test_key::{Domain, TestKey};
