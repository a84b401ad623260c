use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use smallvec::SmallVec;

use super::packed::{self, Buffer, LabelsError, Pairs};
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
    fn from_checked(bytes: &[u8]) -> Self {
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

/// An iterator over the names and values of [`Labels`]. Made by [`Labels::iter`].
#[derive(Clone)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct LabelsIter<'a> {
    pairs: Pairs<'a>,
}

impl<'a> LabelsIter<'a> {
    fn new(labels: &'a Labels) -> Self {
        Self { pairs: labels.pairs() }
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.pairs.next().map(|pair| (packed::unescape(pair.name), packed::unescape(pair.value)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A pair takes two bytes at least.
        let rest = self.pairs.rest().len();
        (usize::from(rest > 0), Some(rest / 2))
    }

    fn count(self) -> usize {
        self.pairs.count()
    }
}

impl FusedIterator for LabelsIter<'_> {}

impl fmt::Debug for LabelsIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}

/// Builds [`Labels`] from names and values that come in any order.
///
/// Empty values are kept as given, unless [`without_empty_values`](Self::without_empty_values) says otherwise.
///
/// # Complexity
///
/// Sorts by name, unless the labels come sorted. Labels are put together in memory of the builder, 256 bytes at first. A
/// builder that is [cleared](Self::clear) and used again has it already, and [`build`](Self::build) then makes one
/// allocation, that of the result, for up to 16 labels.
///
/// # Examples
///
/// ```
/// use losertree::LabelsBuilder;
///
/// let mut builder = LabelsBuilder::new();
/// for (name, value) in [("le", "0.5"), ("__name__", "latency_bucket")] {
///     builder.label(name, value);
/// }
/// assert_eq!(builder.build()?.to_string(), r#"{__name__="latency_bucket", le="0.5"}"#);
///
/// let error = builder.label("le", "+Inf").build().unwrap_err();
/// assert_eq!(error.to_string(), r#"label name "le" occurs twice"#);
/// # Ok::<(), losertree::series::LabelsError>(())
/// ```
#[derive(Clone, Default)]
pub struct LabelsBuilder {
    /// The names and values, each with an end, in the order in which they were given. That is their packed form, unless
    /// one contains an end.
    ///
    /// In a vector: a `SmallVec` has two more calls, to move nothing, for each text, and a merge that packs pairs takes 1.2
    /// times as long at K = 2 (bench `scoreboard`, `labels/pairs`).
    bytes: Vec<u8>,
    pairs: SmallVec<[Place; 16]>,
    drops_empty: bool,
}

/// How many bytes are allocated at first: most label sets have no more.
const FIRST_BYTES: usize = 256;

/// Where in the bytes a pair is.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    name_end: usize,
    end: usize,
}

impl Place {
    /// Whether the value is nothing but its end.
    const fn has_empty_value(self) -> bool {
        self.end == self.name_end + 1
    }
}

impl LabelsBuilder {
    /// Creates a builder without labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a label with an empty value for no label, as Prometheus does. Without this, it is a label like others.
    ///
    /// It holds for all labels of the builder, whenever they are given. An empty value also takes away what other values
    /// its name was given, so that they are no duplicates: `labels.Builder` in `model/labels/labels.go` of
    /// prometheus/prometheus does the same.
    ///
    /// [`Labels::without_empty_values`] does it for a set that is there already, such as one that was parsed.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::Labels;
    ///
    /// let labels = Labels::builder().without_empty_values().label("job", "api").label("zone", "").build()?;
    /// assert_eq!(labels.to_string(), r#"{job="api"}"#);
    /// # Ok::<(), losertree::series::LabelsError>(())
    /// ```
    pub fn without_empty_values(&mut self) -> &mut Self {
        self.drops_empty = true;
        self
    }

    /// Adds a label. To give its name twice is an error of [`build`](Self::build).
    pub fn label(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        self.push(name.as_ref(), value.as_ref());
        self
    }

    fn push(&mut self, name: &str, value: &str) {
        let start = self.bytes.len();
        let added = name.len() + value.len() + 2;
        if self.bytes.capacity() - start < added {
            self.bytes.reserve(added.max(FIRST_BYTES));
        }
        packed::push_unescaped(&mut self.bytes, name.as_bytes());
        let name_end = self.bytes.len();
        packed::push_unescaped(&mut self.bytes, value.as_bytes());
        self.pairs.push(Place { start, name_end, end: self.bytes.len() });
    }

    /// Sets a label: it replaces what its name was given before.
    ///
    /// # Complexity
    ///
    /// Compares the name with those of all labels, and moves the labels after one that it replaces.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::Labels;
    ///
    /// let labels = Labels::builder().label("job", "api").label("zone", "a").set("job", "db").build()?;
    /// assert_eq!(labels.to_string(), r#"{job="db", zone="a"}"#);
    /// # Ok::<(), losertree::series::LabelsError>(())
    /// ```
    pub fn set(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        self.remove(name.as_ref());
        self.push(name.as_ref(), value.as_ref());
        self
    }

    fn remove(&mut self, name: &str) {
        let has_name =
            |bytes: &[u8], place: &Place| bytes[place.start..place.name_end - 1] == *name.as_bytes();
        while let Some(index) = self.pairs.iter().position(|place| has_name(&self.bytes, place)) {
            let Place { start, end, .. } = self.pairs.remove(index);
            self.bytes.drain(start..end);
            let moved = end - start;
            for Place { start, name_end, end } in &mut self.pairs[index..] {
                (*start, *name_end, *end) = (*start - moved, *name_end - moved, *end - moved);
            }
        }
    }

    /// Removes all labels, so that the builder and its memory can be used again. What it was told about empty values stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pairs.clear();
    }

    /// Returns the labels given so far as a set, and keeps them.
    ///
    /// # Errors
    ///
    /// [`LabelsError::DuplicateName`] if two labels have one name, whatever their values, but for those that
    /// [`without_empty_values`](Self::without_empty_values) leaves out.
    pub fn build(&self) -> Result<Labels, LabelsError> {
        self.pack().map_err(|(_, name)| LabelsError::DuplicateName { name })
    }

    /// Packs the set. The error is a name that occurs twice, and which label repeats it, counted as given.
    pub(super) fn pack(&self) -> Result<Labels, (usize, String)> {
        // All texts are searched at once: one by one, most are too short to be searched many bytes at a time.
        if packed::count_ends(&self.bytes) > 2 * self.pairs.len() {
            return self.escaped().pack_escaped();
        }
        self.pack_escaped()
    }

    /// The same labels, with what is to be escaped escaped.
    #[cold]
    fn escaped(&self) -> Self {
        let mut escaped = Self { drops_empty: self.drops_empty, ..Self::new() };
        for place in &self.pairs {
            let start = escaped.bytes.len();
            packed::push(&mut escaped.bytes, &self.bytes[place.start..place.name_end - 1]);
            let name_end = escaped.bytes.len();
            packed::push(&mut escaped.bytes, &self.bytes[place.name_end..place.end - 1]);
            escaped.pairs.push(Place { start, name_end, end: escaped.bytes.len() });
        }
        escaped
    }

    fn pack_escaped(&self) -> Result<Labels, (usize, String)> {
        let drops = self.drops_empty && self.pairs.iter().any(|place| place.has_empty_value());
        if !drops && self.pairs.is_sorted_by(|a, b| self.name(*a) < self.name(*b)) {
            return Ok(Labels::from_checked(&self.bytes));
        }
        let mut order: SmallVec<[(usize, Place); 16]> = self.pairs.iter().copied().enumerate().collect();
        order.sort_unstable_by(|(i, a), (j, b)| self.name(*a).cmp(self.name(*b)).then(i.cmp(j)));
        let mut sorted = Buffer::with_capacity(self.bytes.len());
        for same in order.chunk_by(|(_, a), (_, b)| self.name(*a) == self.name(*b)) {
            if drops && same.iter().any(|(_, place)| place.has_empty_value()) {
                continue;
            }
            if let [_, (index, place), ..] = same {
                let name = self.name(*place);
                let name = name.strip_suffix(&[0]).unwrap_or(name);
                return Err((*index, packed::unescape(name).into_owned()));
            }
            for (_, place) in same {
                sorted.extend_from_slice(&self.bytes[place.start..place.end]);
            }
        }
        Ok(Labels::from_checked(&sorted))
    }

    /// The packed name with its end. The packed form preserves order, so names need not be unpacked.
    fn name(&self, place: Place) -> &[u8] {
        &self.bytes[place.start..place.name_end]
    }
}

/// Shows the labels in the order in which they were given.
impl fmt::Debug for LabelsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |from: usize, end: usize| String::from_utf8_lossy(&self.bytes[from..end - 1]);
        let pairs = self.pairs.iter();
        let pairs = pairs.map(|pair| (text(pair.start, pair.name_end), text(pair.name_end, pair.end)));
        f.debug_map().entries(pairs).finish()
    }
}
