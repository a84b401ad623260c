//! The target `response_sets`: a query to scripted stores, played and judged.

mod plan;
mod play;

pub use plan::Plan;
pub use play::play;
