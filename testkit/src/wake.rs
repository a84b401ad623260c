/// When a source that is `Pending` wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wake {
    /// Within the poll that is `Pending`. The next poll gets further.
    AtOnce,
    /// When the test rings the [`Bell`](crate::Bell). Until then the source stays pending, however often it
    /// is polled.
    Later,
    /// As `Later`, but the waker is woken twice in a row, which a source is allowed to do.
    Twice,
    /// Never: the source is stuck.
    Never,
}
