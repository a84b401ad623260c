//! Writing messages piece by piece, without a copy of what they are made of.

use losertree::{Chunk, Labels};

use crate::block::cursor::{put_uvarint, uvarint_len};

/// The types of fields that are written here, as the lowest bits of a tag.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;

/// The tag of a field that has a length: messages, strings and bytes. Numbers of fields are below 16, so a tag is one byte.
pub(super) const fn len_tag(field: u8) -> u8 {
    field << 3 | LEN
}

const fn varint_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + uvarint_len(number.cast_unsigned()) }
}

const fn field_len(len: usize) -> usize {
    1 + uvarint_len(len as u64) + len
}

/// A number, which is left out if it is 0.
pub(super) fn put_varint(out: &mut Vec<u8>, field: u8, number: i64) {
    if number != 0 {
        out.push(field << 3 | VARINT);
        put_uvarint(out, number.cast_unsigned());
    }
}

pub(super) fn put_len(out: &mut Vec<u8>, field: u8, len: usize) {
    out.push(len_tag(field));
    put_uvarint(out, len as u64);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_len(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes labels as messages of field 1.
pub(super) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels {
        // An empty string is left out; a label always has a name and a value.
        put_len(out, 1, field_len(name.len()) + field_len(value.len()));
        put_bytes(out, 1, name.as_bytes());
        put_bytes(out, 2, value.as_bytes());
    }
}

/// How long a chunk is as a message of a field.
pub(super) const fn chunk_field_len(chunk: &Chunk) -> usize {
    field_len(chunk_len(chunk))
}

const fn chunk_len(chunk: &Chunk) -> usize {
    // Its encoding is one byte and below 128.
    let data = chunk.data.len().saturating_sub(1);
    varint_len(chunk.min_time_ms) + varint_len(chunk.max_time_ms) + 2 + field_len(data)
}

/// Writes a chunk, the data of which begins with its encoding, as a message of field 2.
pub(super) fn put_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    let (encoding, data) = chunk.data.split_first().unwrap_or((&0, &[]));
    put_len(out, 2, chunk_len(chunk));
    put_varint(out, 1, chunk.min_time_ms);
    put_varint(out, 2, chunk.max_time_ms);
    out.extend_from_slice(&[3 << 3 | VARINT, encoding & 0x7f]);
    put_bytes(out, 4, data);
}

/// How long a sample is as a message of a field.
pub(super) const fn sample_field_len(time_ms: i64, value: f64) -> usize {
    field_len(sample_len(time_ms, value))
}

const fn sample_len(time_ms: i64, value: f64) -> usize {
    varint_len(time_ms) + if value.to_bits() == 0 { 0 } else { 9 }
}

/// Writes a sample as a message of field 2.
pub(super) fn put_sample(out: &mut Vec<u8>, time_ms: i64, value: f64) {
    put_len(out, 2, sample_len(time_ms, value));
    // Zero is left out, but not the negative one.
    if value.to_bits() != 0 {
        out.push(1 << 3 | FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }
    put_varint(out, 2, time_ms);
}
