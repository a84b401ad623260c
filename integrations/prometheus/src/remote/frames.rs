//! A streamed answer: frames of a length, a checksum and a message each.

use losertree::Series;

use super::wire::{chunk_field_len, put_chunk, put_labels, put_len, put_varint};
use crate::block::cursor::put_uvarint;

/// The content type of a streamed answer.
pub const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// The most bytes of chunks in a frame, unless one chunk alone has more: what Prometheus has by default.
const FRAME_BYTES: usize = 1 << 20;

/// Writes frames. Has memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    labels: Vec<u8>,
    head: Vec<u8>,
}

impl FrameWriter {
    /// Appends a series, in as many frames as it takes.
    pub(crate) fn put(&mut self, series: &Series, query_index: i64, out: &mut Vec<u8>) {
        let Self { labels, head } = self;
        labels.clear();
        put_labels(labels, &series.labels);
        let mut rest = series.chunks.as_slice();
        loop {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|chunk| {
                bytes += chunk_field_len(chunk);
                bytes <= FRAME_BYTES
            });
            let (chunks, others) = rest.split_at(fitting.count().max(1).min(rest.len()));
            let chunk_bytes: usize = chunks.iter().map(chunk_field_len).sum();
            head.clear();
            put_len(head, 1, labels.len() + chunk_bytes);
            // The head, the series, and the number of the query.
            let head_len = head.len();
            put_varint(head, 2, query_index);
            let (head, tail) = head.split_at(head_len);
            let len = head.len() + labels.len() + chunk_bytes + tail.len();
            put_uvarint(out, len as u64);
            let crc_at = out.len();
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(head);
            out.extend_from_slice(labels);
            for chunk in chunks {
                put_chunk(out, chunk);
            }
            out.extend_from_slice(tail);
            debug_assert_eq!(out.len(), crc_at + 4 + len);
            let crc = crc32c::crc32c(&out[crc_at + 4..]);
            out[crc_at..crc_at + 4].copy_from_slice(&crc.to_be_bytes());
            rest = others;
            if rest.is_empty() {
                return;
            }
        }
    }
}
