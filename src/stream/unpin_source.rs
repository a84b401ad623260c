use super::Source;

/// A [`Source`] that can be moved, as a merge moves its sources: every one that is [`Unpin`].
///
/// It has no other purpose than that who hands in a source which is not `Unpin` is told where it is handed in what to do: to
/// [box](Source::boxed) it. Bounds of your own say `Source + Unpin`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be moved, and a merge moves its sources",
    label = "not a `Source` that is `Unpin`",
    note = "box it: `source.boxed()`, or `Box::pin(source)` if it is not `Send`"
)]
pub trait UnpinSource: Source + Unpin {}

#[diagnostic::do_not_recommend]
impl<S: Source + Unpin> UnpinSource for S {}
