use losertree::Response;
use losertree::error::Cause;
use losertree::response::Received;

use crate::TestError;

/// What one response set must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// All that comes before the end or the error, in order.
    pub responses: Vec<Response>,
    /// The error, if there is one.
    pub error: Option<Cause<TestError>>,
    /// The figures, at the end.
    pub received: Received,
}
