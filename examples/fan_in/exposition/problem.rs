use std::ops::Range;

use losertree::series::LabelsError;

/// A line that is not of the format.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// Which line, counted from 1. A sample with line ends in it is where it begins.
    pub(crate) line: usize,
    pub(crate) problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
    #[error("{0} (a label value before it goes over a line end: is its closing quote missing?)")]
    AfterLineEnd(Box<Problem>),
    #[error("the file begins with a byte order mark, which Prometheus refuses: UTF-8 needs none")]
    ByteOrderMark,
    #[error("the file is UTF-16, where UTF-8 is expected")]
    Utf16,
    #[error("blanks before the name of a metric, which Prometheus refuses")]
    BlanksFirst,
    #[error("carriage return, which Prometheus refuses: lines end with a line feed alone")]
    CarriageReturn,
    #[error("name in quotes, which Prometheus has since version 3 (--utf8-names)")]
    QuotedName,
    #[error("a second name of the metric: {0:?}")]
    SecondName(String),
    #[error("the metric has no name")]
    NoName,
    #[error("label value is not UTF-8")]
    ValueNotUtf8,
    #[error("name is not UTF-8")]
    NameNotUtf8,
    #[error("help text is not UTF-8")]
    HelpNotUtf8,
    #[error("unknown type {0:?}")]
    Type(String),
    #[error("type {0:?}, which only OpenMetrics has")]
    OpenMetricsType(String),
    #[error("bad value {0:?}")]
    Value(String),
    #[error("bad timestamp {0:?}: it is in whole milliseconds, without a sign")]
    Timestamp(String),
    #[error("timestamp {0:?} is not in whole milliseconds: those of OpenMetrics are in seconds")]
    OpenMetricsTimestamp(String),
    #[error("exemplar behind a sample, which only OpenMetrics has")]
    Exemplar,
    #[error("comment behind a sample: it needs a line of its own")]
    CommentBehind,
    #[error("bad labels: {0}")]
    Labels(#[from] LabelsError),
}

impl Malformed {
    /// Says which line of a text it is that begins where `read` does and was read as far as that goes.
    pub(super) fn new(text: &[u8], read: Range<usize>, problem: Problem) -> Self {
        let lines = |part: &[u8]| part.split(|byte| *byte == b'\n').count();
        let line = lines(&text[..read.start]);
        let read = &text[read];
        let goes_over_lines = lines(read.strip_suffix(b"\n").unwrap_or(read)) > 1;
        Self { line, problem: if goes_over_lines { Problem::AfterLineEnd(problem.into()) } else { problem } }
    }
}

impl Problem {
    /// Something else stands at the beginning of `rest` than what was expected.
    pub(super) fn expected(expected: &'static str, rest: &[u8]) -> Self {
        let found = match rest {
            [b'\r', ..] => return Self::CarriageReturn,
            [] => "the end of the file".to_owned(),
            [b'\n', ..] => "the end of the line".to_owned(),
            [first, ..] => match rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()) {
                Some(character) => format!("{character:?}"),
                None => format!("byte {first:02X}"),
            },
        };
        Self::Expected { expected, found }
    }

    /// Something stands behind a value that is no timestamp.
    pub(super) fn timestamp(rest: &[u8]) -> Self {
        let word = rest.split(|byte| matches!(byte, b' ' | b'\t' | b'\n')).next().unwrap_or_default();
        let word = String::from_utf8_lossy(word).into_owned();
        match rest {
            _ if word.ends_with('\r') => Self::CarriageReturn,
            [b'0'..=b'9' | b'.', ..] if word.parse::<f64>().is_ok() => Self::OpenMetricsTimestamp(word),
            [b'0'..=b'9' | b'.' | b'+' | b'-', ..] => Self::Timestamp(word),
            _ => Self::behind("a timestamp or the end of the line", rest),
        }
    }

    /// Something stands behind a sample.
    pub(super) fn behind(expected: &'static str, rest: &[u8]) -> Self {
        match rest {
            [b'#', more @ ..] if more.trim_ascii_start().starts_with(b"{") => Self::Exemplar,
            [b'#', ..] => Self::CommentBehind,
            _ => Self::expected(expected, rest),
        }
    }

    /// A type that the format does not have.
    pub(super) fn metric_type(text: &[u8]) -> Self {
        let name = String::from_utf8_lossy(text).into_owned();
        match &*name {
            _ if name.ends_with('\r') => Self::CarriageReturn,
            "unknown" | "info" | "stateset" | "gaugehistogram" => Self::OpenMetricsType(name),
            _ => Self::Type(name),
        }
    }
}
