/// Where merged items go.
pub(in crate::merge) trait Sink<T>: Sized {
    /// Takes the next items.
    fn take(self, items: impl ExactSizeIterator<Item = T>) -> Self;
}

impl<T> Sink<T> for &mut Vec<T> {
    #[inline]
    fn take(self, items: impl ExactSizeIterator<Item = T>) -> Self {
        self.extend(items);
        self
    }
}
