/// What merges of iterators have in common, be their sources fallible or not, as [`Coalesce`](super::Coalesce) uses them. Not
/// nameable outside of this crate, so sealed.
pub trait SyncMerge: Iterator {
    /// What the sources give where they do not fail.
    type Value;

    /// How the values are ordered.
    type Order;

    /// A failure of a source that the merge has not dealt with yet.
    type Failure;

    /// Returns how many sources there are and were.
    fn sources(&self) -> usize;

    /// Takes the next item.
    fn take_next(&mut self) -> Result<Option<Self::Value>, Self::Failure>;

    /// Calls `ask` with the order, whether the next item is equal to the one taken last, if that is known, and the next item,
    /// which stays where it is. A source that turns out to have ended is not dropped; its index is added to `ended`.
    fn ask_next<R>(
        &mut self,
        ended: &mut Vec<usize>,
        ask: impl FnOnce(&mut Self::Order, Option<bool>, &Self::Value) -> R,
    ) -> Result<Option<R>, Self::Failure>;

    /// Drops those sources.
    fn drop_ended(&mut self, ended: &mut Vec<usize>);

    /// Makes of what was taken an item of the merge. A failure ends the merge.
    fn hand_over(&mut self, taken: Result<Option<Self::Value>, Self::Failure>) -> Option<Self::Item>;
}
