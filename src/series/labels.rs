use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use smallvec::SmallVec;

use super::packed::{self, Buffer, Pairs};
use super::{LabelsBuilder, LabelsError, LabelsIter, ParseLabelsError};
use crate::key::{SortKey, first_bytes};

/// A set of labels: pairs of a name and a value, which together name a series.
///
/// Names are unique; names and values are any UTF-8, empty strings and NUL included. The set is one block of
/// bytes behind an [`Arc`]: cheap to clone, and compared by one `memcmp`.
///
/// Written as `{__name__="up", job="api"}`, and parsed from that; see
/// [the notation](#impl-FromStr-for-Labels).
///
/// # Ordering
///
/// That of Prometheus: the first pairs decide by their names, then by their values, then the second pairs,
/// and so on; a set that runs out of pairs is the smaller one. Strings are compared byte by byte, which for
/// UTF-8 is by code point.
///
/// # The packed form
///
/// The pairs in the order of their names, each as its name and its value. Every string ends with `00`; a NUL
/// that belongs to a string is written `00 FF`.
///
/// ```text
/// {a="", b="1", c="x\x00y"}
///
///    name  value    name    value     name        value
///  ┌───────┬────┐ ┌───────┬───────┐ ┌───────┬────────────────┐
///  │ 61 00 │ 00 │ │ 62 00 │ 31 00 │ │ 63 00 │ 78 00 FF 79 00 │
///  └───────┴────┘ └───────┴───────┘ └───────┴────────────────┘
///    a  ·    ·      b  ·    1  ·      c  ·    x  NUL   y  ·       · is the end of a string
/// ```
///
/// UTF-8 has no byte `FF`, so the byte after an end is never `FF`, and an end cannot be mistaken for a NUL.
/// Comparing the bytes is comparing the pairs:
///
/// - two different strings, neither a beginning of the other, differ in a byte of their own, or in where one
///   of them has a NUL. There it has `00`, and the other at least `01`;
/// - where one string ends and the other goes on, `00` meets either a byte of at least `01`, or the `00` of
///   a NUL and then, with whatever comes after the end, something below `FF`. The shorter string is smaller;
/// - equal strings have equal bytes, and the next strings are compared in the same places;
/// - where one set runs out of pairs its bytes do, and the shorter byte string is smaller.
///
/// # Examples
///
/// ```
/// use losertree::Labels;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let labels = Labels::builder().label("job", "api").label("__name__", "up").build()?;
/// assert_eq!(labels.to_string(), r#"{__name__="up", job="api"}"#);
/// assert_eq!(labels.metric_name().as_deref(), Some("up"));
/// assert_eq!(labels, r#"{__name__="up", job="api"}"#.parse()?);
/// assert_eq!(labels.packed(), b"__name__\0up\0job\0api\0");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels {
    packed: Arc<[u8]>,
}

impl Labels {
    /// The name of the label that holds the name of the metric.
    pub const METRIC_NAME: &str = "__name__";

    /// Creates the empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a builder, which takes the labels in any order.
    #[must_use]
    pub fn builder() -> LabelsBuilder {
        LabelsBuilder::new()
    }

    /// Creates a set from pairs of a name and a value, in any order.
    ///
    /// # Errors
    ///
    /// [`LabelsError::DuplicateName`] if two pairs have one name.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::Labels;
    ///
    /// let labels = Labels::from_pairs([("job", "api"), ("instance", "10.0.0.7:9090")])?;
    /// assert_eq!(labels.to_string(), r#"{instance="10.0.0.7:9090", job="api"}"#);
    /// # Ok::<(), losertree::series::LabelsError>(())
    /// ```
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelsError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut builder = Self::builder();
        for (name, value) in pairs {
            builder.label(name, value);
        }
        builder.build()
    }

    /// Creates a set from its packed form, such as another process may have sent it.
    ///
    /// The bytes are checked in full and copied.
    ///
    /// # Errors
    ///
    /// What keeps the bytes from being the packed form of a set: they are
    /// [cut off](LabelsError::Truncated), [not UTF-8](LabelsError::NotUtf8),
    /// [not sorted by name](LabelsError::Unsorted), or have [a name twice](LabelsError::DuplicateName).
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::Labels;
    /// use losertree::series::LabelsError;
    ///
    /// let labels = Labels::from_packed(b"a\0x\0b\0y\0")?;
    /// assert_eq!(labels.to_string(), r#"{a="x", b="y"}"#);
    /// assert_eq!(Labels::from_packed(b"a\0x\0b\0"), Err(LabelsError::Truncated { offset: 4 }));
    /// # Ok::<(), LabelsError>(())
    /// ```
    pub fn from_packed(bytes: &[u8]) -> Result<Self, LabelsError> {
        packed::check(bytes)?;
        Ok(Self::from_checked(bytes))
    }

    /// Creates a set from bytes that are known to be the packed form of one.
    pub(super) fn from_checked(bytes: &[u8]) -> Self {
        debug_assert_eq!(packed::check(bytes), Ok(()));
        if bytes.is_empty() { Self::new() } else { Self { packed: bytes.into() } }
    }

    /// Returns the packed form: see [the type](Self#the-packed-form).
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    pub(crate) fn pairs(&self) -> Pairs<'_> {
        Pairs::new(&self.packed)
    }

    /// Returns an iterator over the names and values, in the order of the names.
    ///
    /// They are borrowed, save those that contain a NUL.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter::new(self)
    }

    /// Returns how many labels there are.
    ///
    /// # Complexity
    ///
    /// Counts them: linear in the length of the packed form.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs().count()
    }

    /// Returns whether there are no labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Returns the value of the label `name`, if there is one.
    ///
    /// An empty value is `Some("")`: it is not the same as none, though Prometheus takes it to be
    /// ([`without_empty_values`](Self::without_empty_values)).
    ///
    /// # Complexity
    ///
    /// Reads the labels up to `name`. Allocates only if the name or its value contains a NUL.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let name = packed::escape(name);
        // Escaping preserves order.
        let pair = self.pairs().find(|pair| pair.name >= &*name)?;
        (pair.name == &*name).then(|| packed::unescape(pair.value))
    }

    /// Returns the value of the label `__name__`, if there is one.
    #[must_use]
    pub fn metric_name(&self) -> Option<Cow<'_, str>> {
        self.get(Self::METRIC_NAME)
    }

    /// Returns the set without the labels that have one of these names.
    ///
    /// Names that do not occur are passed over.
    ///
    /// # Ordering
    ///
    /// The result can stand elsewhere in the order, and two different sets can become equal. Sorted series
    /// must be sorted again after labels were removed from them:
    ///
    /// ```
    /// use losertree::Labels;
    ///
    /// let first = Labels::from_pairs([("replica", "a"), ("zone", "y")])?;
    /// let second = Labels::from_pairs([("replica", "b"), ("zone", "x")])?;
    /// assert!(first < second);
    /// assert!(first.without(&["replica"]) > second.without(&["replica"]));
    /// # Ok::<(), losertree::series::LabelsError>(())
    /// ```
    ///
    /// # Complexity
    ///
    /// One comparison for each label and each of `names`, and one allocation, or none if nothing is removed.
    #[must_use]
    pub fn without<N: AsRef<str>>(&self, names: &[N]) -> Self {
        let names: SmallVec<[Cow<'_, [u8]>; 8]> =
            names.iter().map(|name| packed::escape(name.as_ref())).collect();
        let mut kept = Buffer::new();
        for pair in self.pairs() {
            if !names.iter().any(|name| pair.name == &**name) {
                kept.extend_from_slice(pair.bytes);
            }
        }
        self.kept(&kept)
    }

    /// Returns the set without the labels that have an empty value, which are no labels for Prometheus.
    ///
    /// [`LabelsBuilder::without_empty_values`] does it while a set is built.
    ///
    /// # Ordering
    ///
    /// As with [`without`](Self::without), the result can stand elsewhere in the order.
    ///
    /// # Complexity
    ///
    /// Reads all labels, and makes one allocation, or none if nothing is removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::Labels;
    ///
    /// let labels: Labels = r#"{job="api", zone=""}"#.parse()?;
    /// assert_eq!(labels.without_empty_values(), r#"{job="api"}"#.parse()?);
    /// # Ok::<(), losertree::series::ParseLabelsError>(())
    /// ```
    #[must_use]
    pub fn without_empty_values(&self) -> Self {
        let mut kept = Buffer::new();
        for pair in self.pairs().filter(|pair| !pair.value.is_empty()) {
            kept.extend_from_slice(pair.bytes);
        }
        self.kept(&kept)
    }

    /// The set of some of the own pairs, packed.
    fn kept(&self, kept: &[u8]) -> Self {
        if kept.len() == self.packed.len() { self.clone() } else { Self::from_checked(kept) }
    }
}

/// Reads the notation, as [`FromStr`](#impl-FromStr-for-Labels) does.
///
/// # Examples
///
/// ```
/// use losertree::{Chunk, Labels, Series};
///
/// let series = Series::new(r#"{__name__="up", job="api"}"#.try_into()?, vec![Chunk::new(0, 0, "1")]);
/// assert_eq!(series.labels, Labels::try_from([("__name__", "up"), ("job", "api")])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl TryFrom<&str> for Labels {
    type Error = ParseLabelsError;

    fn try_from(text: &str) -> Result<Self, ParseLabelsError> {
        text.parse()
    }
}

/// Creates a set from an array of pairs, as [`from_pairs`](Labels::from_pairs) does.
impl<N: AsRef<str>, V: AsRef<str>, const COUNT: usize> TryFrom<[(N, V); COUNT]> for Labels {
    type Error = LabelsError;

    fn try_from(pairs: [(N, V); COUNT]) -> Result<Self, LabelsError> {
        Self::from_pairs(pairs)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (Cow<'a, str>, Cow<'a, str>);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// What the packed form of nearly every label set begins with.
///
/// Eight bytes of it would be the same in all of them, so the code looks past it.
const COMMON: &[u8] = b"__name__\0";

/// By the packed form. The code holds the first seven and three quarter bytes after `__name__\0`.
///
/// Most often that is the beginning of the metric's name. Sets without that label have a code too, made from
/// their first bytes. Between series of one metric, or of metrics with one prefix, the packed forms decide.
impl SortKey for Labels {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = false;
    const PARTS: usize = 1;

    // The order is preserved. All byte strings fall into three classes: below the common beginning without
    // starting with it, starting with it, and above it without starting with it. Every member of a class is
    // below every member of the next: if x < COMMON is no beginning of COMMON, they differ in a byte, where
    // x is also below all that starts with COMMON; if it is one, it is also a beginning of all that, and
    // shorter. Likewise above. So the class can be the two highest bits. Within a class the beginnings that
    // are cut off are equal, so the rest decides, and padding it with zeros and dropping low bits can make
    // codes equal but never turns them round.
    #[inline]
    fn code(&self) -> u64 {
        let packed = self.packed();
        let (class, rest) = match packed.strip_prefix(COMMON) {
            None if packed < COMMON => (0, packed),
            Some(rest) => (1, rest),
            None => (2, packed),
        };
        (class << 62) | (first_bytes(rest) >> 2)
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    #[inline]
    fn part(&self, _index: usize) -> &[u8] {
        self.packed()
    }
}
