//! What the tests, benchmarks and fuzz targets of `losertree` have in common.

mod bell;
pub mod inputs;
mod item;
mod oracle;
mod random;
mod runs;
mod script;
mod scripted;
mod test_error;
mod test_key;
mod wake;

pub use bell::Bell;
pub use item::Item;
pub use oracle::{assert_merged, assert_merged_by, assert_same, merged, merged_by};
pub use random::Random;
pub use runs::Runs;
pub use script::{CloseStep, Script, Step};
pub use scripted::ScriptedSource;
pub use test_error::{At, TestError};
pub use test_key::{Domain, TestKey};
pub use wake::Wake;
