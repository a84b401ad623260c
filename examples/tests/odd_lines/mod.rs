//! `odd_lines.txt`: texts, and what Prometheus makes of each.

mod made_up;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use made_up::made_up;

/// A series: its labels, and the first value that they came with, as text.
pub(crate) type Found = (BTreeMap<String, String>, String);

/// What becomes of a text: its series, sorted, or nothing if it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Refused,
    Accepted(Vec<Found>),
}

/// A line of the file, with the verdict that follows it.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A comment, or a blank line.
    Comment(String),
    Text {
        bytes: Vec<u8>,
        verdict: Verdict,
    },
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("odd_lines/odd_lines.txt")
}

/// Reads the file. A text without a verdict is taken to be refused.
pub(crate) fn read() -> Vec<Entry> {
    let mut entries = Vec::new();
    for line in fs::read_to_string(path()).unwrap().lines() {
        match (line.split_once(' ').map_or((line, ""), |(mark, rest)| (mark, rest)), entries.last_mut()) {
            (("<", text), _) => {
                entries.push(Entry::Text { bytes: decode(text), verdict: Verdict::Refused });
            }
            (("refused", ""), Some(Entry::Text { .. })) => {}
            (("accepted", ""), Some(Entry::Text { verdict, .. })) => *verdict = Verdict::Accepted(Vec::new()),
            ((">", series), Some(Entry::Text { verdict: Verdict::Accepted(found), .. })) => {
                let (labels, value) = series.rsplit_once(' ').unwrap();
                found.push((serde_json::from_str(labels).unwrap(), value.to_owned()));
            }
            (("" | "#", _), _) => entries.push(Entry::Comment(line.to_owned())),
            _ => panic!("what is {line:?} in {}?", path().display()),
        }
    }
    entries
}

/// The texts of the file, with their verdicts.
pub(crate) fn texts() -> Vec<(Vec<u8>, Verdict)> {
    let of_entry = |entry| match entry {
        Entry::Text { bytes, verdict } => Some((bytes, verdict)),
        Entry::Comment(_) => None,
    };
    read().into_iter().filter_map(of_entry).collect()
}

/// Writes the file.
pub(crate) fn write(entries: &[Entry]) {
    let mut file = String::new();
    for entry in entries {
        match entry {
            Entry::Comment(line) => writeln!(file, "{line}").unwrap(),
            Entry::Text { bytes, verdict } => {
                writeln!(file, "{}", format!("< {}", encode(bytes)).trim_end()).unwrap();
                match verdict {
                    Verdict::Refused => file.push_str("refused\n"),
                    Verdict::Accepted(found) => {
                        file.push_str("accepted\n");
                        for (labels, value) in found {
                            writeln!(file, "> {} {value}", serde_json::to_string(labels).unwrap()).unwrap();
                        }
                    }
                }
            }
        }
    }
    fs::write(path(), file).unwrap();
}

/// Bytes as they stand in the file: what is not plain in hexadecimal, and a blank at the end, which would not be seen.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        let is_plain = byte.is_ascii_graphic() && *byte != b'%';
        if is_plain || *byte == b' ' && index + 1 < bytes.len() {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").unwrap();
        }
    }
    text
}

fn decode(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}
