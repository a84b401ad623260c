/// What a response set does to give series in order.
///
/// | | gives | holds back | out of order |
/// |---|---|---|---|
/// | [`Trusted`](Self::Trusted) | as they come | nothing | passed on |
/// | [`Checked`](Self::Checked) | as they come | nothing | an error |
/// | [`Restored`](Self::Restored) | as they come, as long as that is in order | the rest | sorted, or an error |
/// | [`Sorted`](Self::Sorted) | after the last has come | everything | sorted |
///
/// The default is `Checked`, and `Sorted` where the set removes labels: what was sorted with them need not be
/// without, since a label that is removed may have decided.
///
/// With `Restored` the set goes on giving series while the labels that it removes come last in each: mostly their
/// order is then that of the labels before. From the first series on of which that is not so, or which does come
/// before the one ahead of it, it holds back everything and sorts it. Should one of those belong before a series
/// that it has given already, that is the error [`OutOfOrder`](crate::error::Cause::OutOfOrder). It can happen
/// where the labels of one series are those of another and one more: `{a, replica}` comes after `{a, b, replica}`,
/// but `{a}` before `{a, b}`. So use it for stores whose series have all the same names of labels.
///
/// [`Received::is_held_back`](crate::stream::Received::is_held_back) says whether series were held back, and
/// [`is_resorted`](crate::stream::Received::is_resorted) whether those were out of order. An [`EagerResponseSet`](super::EagerResponseSet) holds back everything anyway, and sorts what has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SeriesOrder {
    /// The store is trusted.
    Trusted,
    /// The store is checked, with one comparison for each series.
    Checked,
    /// The order is restored where it is lost.
    Restored,
    /// Everything is read and sorted.
    Sorted,
}
