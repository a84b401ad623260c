use std::fmt;

use smallvec::SmallVec;

use super::packed::{self, Buffer};
use super::{Labels, LabelsError};

/// Builds [`Labels`] from names and values that come in any order.
///
/// Empty values are kept as given. Prometheus treats a label with an empty value as absent; whoever wants
/// that leaves such labels out.
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

impl LabelsBuilder {
    /// Creates a builder without labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a label.
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

    /// Removes all labels, so that the builder and its memory can be used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pairs.clear();
    }

    /// Returns the labels given so far as a set, and keeps them.
    ///
    /// # Errors
    ///
    /// [`LabelsError::DuplicateName`] if two labels have one name, whatever their values.
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
        let mut escaped = Self::new();
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
        if self.pairs.is_sorted_by(|a, b| self.name(*a) < self.name(*b)) {
            return Ok(Labels::from_checked(&self.bytes));
        }
        let mut order: SmallVec<[(usize, Place); 16]> = self.pairs.iter().copied().enumerate().collect();
        order.sort_unstable_by(|(i, a), (j, b)| self.name(*a).cmp(self.name(*b)).then(i.cmp(j)));
        let mut sorted = Buffer::with_capacity(self.bytes.len());
        let mut before = None;
        for (index, place) in order {
            let name = self.name(place);
            if before == Some(name) {
                let name = name.strip_suffix(&[0]).unwrap_or(name);
                return Err((index, packed::unescape(name).into_owned()));
            }
            before = Some(name);
            sorted.extend_from_slice(&self.bytes[place.start..place.end]);
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
