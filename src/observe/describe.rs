use super::names;

/// Describes every metric, with its unit, to the recorder that is installed.
///
/// A [`Publisher`](super::Publisher) does so each time it publishes. Call this where there is none, after the
/// recorder was installed.
pub fn describe() {
    names::ALL.iter().for_each(super::Figure::describe);
}
