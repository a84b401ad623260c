use std::fmt;

use smallvec::SmallVec;

use super::packed::{self, Buffer};
use super::{Labels, LabelsError};

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
