use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Which source of a merge something is about: its index and, where it has one, its name.
///
/// Written as `source 3 "store-a"`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceId {
    index: usize,
    name: Option<Arc<str>>,
}

impl SourceId {
    /// Creates the identity of the source at `index`.
    #[must_use]
    pub const fn new(index: usize, name: Option<Arc<str>>) -> Self {
        Self { index, name }
    }

    /// Returns the index of the source: how many have joined the merge before it.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns the name of the source, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}", self.index)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name:?}"))
    }
}

/// Where a source is in a merge of merges: its identity in each, the outermost first.
///
/// Where sources are no merges themselves, it has one place. Written as `source 3 "store-a"`, and with more places as
/// `source 0.3 "eu/store-a"`.
///
/// # Examples
///
/// ```
/// use losertree::{SourceId, SourcePath};
///
/// let path: SourcePath = [SourceId::new(0, Some("eu".into())), SourceId::new(3, Some("store-a".into()))].into();
/// assert_eq!(path.to_string(), r#"source 0.3 "eu/store-a""#);
/// assert_eq!(path.index(), Some(0));
/// assert_eq!(path.name().as_deref(), Some("eu/store-a"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SourcePath {
    places: Vec<SourceId>,
}

impl SourcePath {
    /// Returns the places, the outermost first.
    #[must_use]
    pub fn places(&self) -> &[SourceId] {
        &self.places
    }

    /// Whether there is no place: it is not known yet which source of a merge it is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the index in the outermost merge, which is the one that has said this.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.places.first().map(SourceId::index)
    }

    /// Returns the names of all places, separated by slashes, if one has a name. In place of a name that is missing stands the
    /// index.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'_, str>> {
        match &*self.places {
            [place] => place.name().map(Cow::Borrowed),
            places if places.iter().any(|place| place.name.is_some()) => {
                let names: Vec<_> = places
                    .iter()
                    .map(|place| place.name().map_or_else(|| place.index.to_string().into(), Cow::Borrowed))
                    .collect();
                Some(names.join("/").into())
            }
            _ => None,
        }
    }

    /// Adds the place that all others are in.
    pub(crate) fn prepend(&mut self, outermost: SourceId) {
        self.places.insert(0, outermost);
    }
}

impl From<SourceId> for SourcePath {
    fn from(place: SourceId) -> Self {
        Self { places: vec![place] }
    }
}

impl<const N: usize> From<[SourceId; N]> for SourcePath {
    fn from(places: [SourceId; N]) -> Self {
        Self { places: places.into() }
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.places.split_first() else { return f.write_str("a source") };
        write!(f, "source {}", first.index)?;
        rest.iter().try_for_each(|place| write!(f, ".{}", place.index))?;
        self.name().map_or(Ok(()), |name| write!(f, " {name:?}"))
    }
}
