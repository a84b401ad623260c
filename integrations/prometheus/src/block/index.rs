//! The header of an index: what is kept in memory of the file `index` of a block.

use std::cmp::Ordering;
use std::ops::Range;
use std::path::Path;

use super::cursor::{Cursor, check_crc};
use super::file::BlockFile;
use super::{BlockError, Problem};

const MAGIC: u32 = 0xBAAA_D700;
/// The magic number and the version.
const HEADER_BYTES: u64 = 5;
const TOC_BYTES: u64 = 52;
const CRC_BYTES: u64 = 4;
/// The longest section that is kept in memory.
const SECTION_LIMIT_BYTES: u64 = 1 << 30;
/// Series of version 2 begin at multiples of this, and are referred to by how many of these come before.
const SERIES_ALIGNMENT: u64 = 16;

/// The index of a block: an open file, its symbols, and where the postings of each label are.
///
/// # Memory
///
/// The strings of all symbols as they are in the file, 4 bytes for each symbol, and 12 bytes for each pair of a name and a
/// value. All else is read when it is needed. While the index is opened, its table of postings is in memory too.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) file: BlockFile,
    version: u8,
    /// Where the series are.
    series: Range<u64>,
    symbols: Symbols,
    postings: PostingsTable,
}

impl Index {
    pub(crate) fn open(dir: &Path) -> Result<Self, BlockError> {
        let file = BlockFile::open(dir.join("index"))?;
        let header = file.array::<5>(0, "the header")?;
        let mut cursor = Cursor::new(&header);
        let found = cursor.u32("the header").map_err(|problem| file.error(0, problem))?;
        if found != MAGIC {
            return Err(file.error(0, Problem::Magic { found, expected: MAGIC }));
        }
        let version = header[4];
        if !(1..=2).contains(&version) {
            return Err(file.error(4, Problem::Version(version.into())));
        }
        let toc = Toc::read(&file)?;
        let symbols = Symbols::read(&file, toc.symbols, version)?;
        let postings = PostingsTable::read(&file, toc.postings_table, &symbols)?;
        let end = toc.label_indices.max(toc.series);
        let end = if end > toc.series { end } else { toc.end };
        Ok(Self { file, version, series: toc.series..end, symbols, postings })
    }

    /// How many bytes of memory the header takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.symbols.bytes.capacity()
            + self.symbols.offsets.capacity() * size_of::<u32>()
            + self.postings.values.capacity() * (size_of::<u32>() + size_of::<u64>())
            + self.postings.names.capacity() * size_of::<Name>()
    }

    /// Returns a string by its reference.
    pub(crate) fn symbol(&self, reference: u64) -> Result<&str, Problem> {
        let missing = Problem::Reference { what: "symbol", reference };
        let number = if self.version == 1 {
            // By the byte of the file.
            let at = reference.checked_sub(self.symbols.start).and_then(|at| u32::try_from(at).ok());
            at.and_then(|at| self.symbols.offsets.binary_search(&at).ok())
        } else {
            usize::try_from(reference).ok()
        };
        number.and_then(|number| self.symbols.get(number)).ok_or(missing)
    }

    /// Returns at which byte a series is.
    pub(crate) fn series_offset(&self, series: u32) -> Result<u64, Problem> {
        let unit = if self.version == 1 { 1 } else { SERIES_ALIGNMENT };
        let offset = u64::from(series) * unit;
        if self.series.contains(&offset) {
            Ok(offset)
        } else {
            Err(Problem::Reference { what: "series", reference: series.into() })
        }
    }

    /// The end of the part of the file that has the series.
    pub(crate) const fn series_end(&self) -> u64 {
        self.series.end
    }

    /// Where the postings of all series are.
    pub(crate) const fn all_postings(&self) -> Option<u64> {
        self.postings.all
    }

    /// Where the postings of a label are.
    pub(crate) fn postings(&self, name: &str, value: &str) -> Option<u64> {
        let range = self.value_range(name)?;
        let values = &self.postings.values[range.clone()];
        let found = values.binary_search_by(|symbol| self.symbols.compare(*symbol, value)).ok()?;
        Some(self.postings.offsets[range.start + found])
    }

    /// All values of a name, in order, and where the postings of each are.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let range = self.value_range(name).unwrap_or_default();
        let offsets = &self.postings.offsets[range.clone()];
        // All of these were found among the symbols when the table was read.
        let value = |symbol: &u32| self.symbols.get(*symbol as usize).unwrap_or_default();
        self.postings.values[range].iter().map(value).zip(offsets.iter().copied())
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.postings.names.iter().filter_map(|name| self.symbols.get(name.symbol as usize))
    }

    fn value_range(&self, name: &str) -> Option<Range<usize>> {
        let names = &self.postings.names;
        let at = names.binary_search_by(|other| self.symbols.compare(other.symbol, name)).ok()?;
        let end = names.get(at + 1).map_or(self.postings.values.len(), |next| next.start);
        Some(names[at].start..end)
    }
}

/// Where the sections are.
struct Toc {
    symbols: u64,
    series: u64,
    label_indices: u64,
    postings_table: u64,
    /// Where the table of contents itself begins.
    end: u64,
}

impl Toc {
    fn read(file: &BlockFile) -> Result<Self, BlockError> {
        let available = file.len();
        let short =
            || Problem::Truncated { what: "the table of contents", len: TOC_BYTES + HEADER_BYTES, available };
        let end = available.checked_sub(TOC_BYTES).filter(|end| *end >= HEADER_BYTES);
        let end = end.ok_or_else(|| file.error(0, short()))?;
        let bytes = file.array::<{ TOC_BYTES as usize }>(end, "the table of contents")?;
        Self::parse(&bytes, end).map_err(|problem| file.error(end, problem))
    }

    fn parse(bytes: &[u8], end: u64) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(bytes);
        let mut places = [0; 6];
        for place in &mut places {
            *place = cursor.u64("the table of contents")?;
            if *place > end {
                return Err(Problem::Reference { what: "section at byte", reference: *place });
            }
        }
        let crc = cursor.u32("the table of contents")?;
        check_crc(&bytes[..bytes.len() - CRC_BYTES as usize], crc, "the table of contents")?;
        let [symbols, series, label_indices, _, _, postings_table] = places;
        Ok(Self { symbols, series, label_indices, postings_table, end })
    }
}

/// Reads a section that begins with its length and ends with its checksum. Returns its contents without both, and where
/// these begin.
fn section(file: &BlockFile, offset: u64, what: &'static str) -> Result<(Vec<u8>, u64), BlockError> {
    let len = u64::from(u32::from_be_bytes(file.array(offset, what)?));
    let start = offset + 4;
    file.check(start, len + CRC_BYTES, what)?;
    let bytes = file.part(start, len, SECTION_LIMIT_BYTES, what)?;
    let crc = u32::from_be_bytes(file.array(start + len, what)?);
    check_crc(&bytes, crc, what).map_err(|problem| file.error(offset, problem))?;
    Ok((bytes, start))
}

/// All strings of the labels, sorted.
#[derive(Debug, Default)]
struct Symbols {
    /// Each with its length before it.
    bytes: Vec<u8>,
    /// Where in the bytes each begins.
    offsets: Vec<u32>,
    /// Where in the file the bytes begin.
    start: u64,
}

impl Symbols {
    fn read(file: &BlockFile, offset: u64, version: u8) -> Result<Self, BlockError> {
        if offset == 0 {
            return Ok(Self::default());
        }
        let (bytes, start) = section(file, offset, "the symbols")?;
        let mut cursor = Cursor::new(&bytes);
        let offsets = Self::scan(&mut cursor);
        let offsets = offsets.map_err(|problem| file.error(start + cursor.position() as u64, problem))?;
        // Of version 1, a reference is a byte of the section with its length.
        let start = if version == 1 { start } else { 0 };
        Ok(Self { bytes, offsets, start })
    }

    fn scan(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, Problem> {
        let count = cursor.u32("the number of symbols")? as usize;
        // Each has one byte at least.
        if count > cursor.remaining() {
            return Err(Problem::Truncated {
                what: "the symbols",
                len: count as u64,
                available: cursor.remaining() as u64,
            });
        }
        let mut offsets = Vec::with_capacity(count);
        let mut before: Option<&[u8]> = None;
        for _ in 0..count {
            // The section is shorter than 4 GiB.
            offsets.push(cursor.position() as u32);
            let len = cursor.uvarint("a symbol")?;
            let symbol = cursor.take(len, "a symbol")?;
            if before.is_some_and(|before| before >= symbol) {
                return Err(Problem::Invalid("the symbols are not sorted"));
            }
            if str::from_utf8(symbol).is_err() {
                return Err(Problem::Invalid("a symbol is not UTF-8"));
            }
            before = Some(symbol);
        }
        Ok(offsets)
    }

    fn get(&self, number: usize) -> Option<&str> {
        let start = *self.offsets.get(number)? as usize;
        let mut cursor = Cursor::new(self.bytes.get(start..)?);
        let len = cursor.uvarint("").ok()?;
        // Checked when they were read; a check of bytes that are short is cheap, and safe.
        str::from_utf8(cursor.take(len, "").ok()?).ok()
    }

    fn compare(&self, number: u32, text: &str) -> Ordering {
        self.get(number as usize).unwrap_or_default().cmp(text)
    }

    fn find(&self, text: &str) -> Option<u32> {
        let found = self.offsets.binary_search_by(|offset| {
            let mut cursor = Cursor::new(self.bytes.get(*offset as usize..).unwrap_or_default());
            let symbol = cursor.uvarint("").and_then(|len| cursor.take(len, "")).unwrap_or_default();
            symbol.cmp(text.as_bytes())
        });
        found.ok().and_then(|number| u32::try_from(number).ok())
    }
}

/// Where the postings of each label are: names, and of each the values, by their symbols.
#[derive(Debug, Default)]
struct PostingsTable {
    names: Vec<Name>,
    values: Vec<u32>,
    offsets: Vec<u64>,
    /// Where the postings of all series are.
    all: Option<u64>,
}

#[derive(Debug)]
struct Name {
    symbol: u32,
    /// The first of its values.
    start: usize,
}

impl PostingsTable {
    /// The shortest entry: how many strings, two lengths, an offset.
    const ENTRY_BYTES: usize = 4;

    fn read(file: &BlockFile, offset: u64, symbols: &Symbols) -> Result<Self, BlockError> {
        if offset == 0 {
            return Ok(Self::default());
        }
        let (bytes, start) = section(file, offset, "the table of postings")?;
        let mut cursor = Cursor::new(&bytes);
        let mut entries = Vec::new();
        let mut all = None;
        let scanned = Self::scan(&mut cursor, symbols, &mut entries, &mut all);
        scanned.map_err(|problem| file.error(start + cursor.position() as u64, problem))?;
        // They are, of version 2.
        entries.sort_unstable();
        let mut table = Self {
            names: Vec::new(),
            values: Vec::with_capacity(entries.len()),
            offsets: Vec::with_capacity(entries.len()),
            all,
        };
        let mut before = None;
        for (name, value, offset) in entries {
            if before == Some((name, value)) {
                return Err(file.error(start, Problem::Invalid("a label is in the table of postings twice")));
            }
            if table.names.last().is_none_or(|last| last.symbol != name) {
                table.names.push(Name { symbol: name, start: table.values.len() });
            }
            before = Some((name, value));
            table.values.push(value);
            table.offsets.push(offset);
        }
        table.names.shrink_to_fit();
        Ok(table)
    }

    fn scan(
        cursor: &mut Cursor<'_>,
        symbols: &Symbols,
        entries: &mut Vec<(u32, u32, u64)>,
        all: &mut Option<u64>,
    ) -> Result<(), Problem> {
        let count = cursor.u32("the number of postings")? as usize;
        if count > cursor.remaining() / Self::ENTRY_BYTES {
            let available = cursor.remaining() as u64;
            return Err(Problem::Truncated {
                what: "the table of postings",
                len: (count * Self::ENTRY_BYTES) as u64,
                available,
            });
        }
        entries.reserve_exact(count);
        let mut last_name: (&[u8], u32) = (&[], 0);
        for _ in 0..count {
            if cursor.byte("an entry")? != 2 {
                return Err(Problem::Invalid("an entry of the table of postings has other than two strings"));
            }
            let len = cursor.uvarint("a name")?;
            let name = cursor.take(len, "a name")?;
            let len = cursor.uvarint("a value")?;
            let value = cursor.take(len, "a value")?;
            let offset = cursor.uvarint("an offset")?;
            if name.is_empty() && value.is_empty() {
                *all = Some(offset);
                continue;
            }
            let find = |text: &[u8]| {
                let found = str::from_utf8(text).ok().and_then(|text| symbols.find(text));
                found.ok_or(Problem::Invalid("a label of the table of postings is not among the symbols"))
            };
            if entries.is_empty() || last_name.0 != name {
                last_name = (name, find(name)?);
            }
            entries.push((last_name.1, find(value)?, offset));
        }
        Ok(())
    }
}
