//! Series as messages of the StoreAPI, and back.

use bytes::{Bytes, BytesMut};
use losertree::{Chunk, Labels, LabelsBuilder, Series};

use super::client::StoreApiError;
use super::proto::{self, AggrChunk, Label, SeriesResponse, chunk::Encoding, series_response};
use crate::block::{Replica, xor};
use crate::overlap::Place;

/// The most bytes of chunks in a message, unless one chunk alone has more.
const MESSAGE_BYTES: usize = 256 << 10;

/// A chunk has an encoding for which the StoreAPI has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chunk has the encoding {0}, for which the StoreAPI has no name")]
pub(super) struct NoEncoding(u8);

const fn named(encoding: u8) -> Result<Encoding, NoEncoding> {
    match encoding {
        1 => Ok(Encoding::Xor),
        2 => Ok(Encoding::Histogram),
        3 => Ok(Encoding::FloatHistogram),
        other => Err(NoEncoding(other)),
    }
}

pub(super) fn labels(labels: &Labels) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect()
}

/// Appends a series, in as many messages as it takes. Returns how many bytes these have, about.
///
/// The data of chunks is copied: what it is lent from goes back, however long a message waits to be sent.
pub(super) fn put_series(series: &Series, messages: &mut Vec<SeriesResponse>) -> Result<usize, NoEncoding> {
    let labels = labels(&series.labels);
    let named_bytes: usize = labels.iter().map(|label| label.name.len() + label.value.len() + 6).sum();
    let mut bytes = 0;
    let mut rest = series.chunks.as_slice();
    loop {
        let mut data_bytes = 0;
        let fitting = rest.iter().take_while(|chunk| {
            data_bytes += chunk.data.len();
            data_bytes <= MESSAGE_BYTES
        });
        let (chunks, others) = rest.split_at(fitting.count().max(1).min(rest.len()));
        let data_bytes = chunks.iter().map(|chunk| chunk.data.len()).sum();
        let mut data = BytesMut::with_capacity(data_bytes);
        let chunks = chunks.iter().map(|chunk| message(chunk, &mut data)).collect::<Result<_, _>>()?;
        let series = proto::Series { labels: labels.clone(), chunks };
        messages.push(SeriesResponse { result: Some(series_response::Result::Series(series)) });
        bytes += named_bytes + data_bytes;
        rest = others;
        if rest.is_empty() {
            return Ok(bytes);
        }
    }
}

fn message(chunk: &Chunk, copied: &mut BytesMut) -> Result<AggrChunk, NoEncoding> {
    let (encoding, data) = chunk.data.split_first().unwrap_or((&0, &[]));
    copied.extend_from_slice(data);
    let data = copied.split().freeze();
    let raw = proto::Chunk { r#type: named(*encoding)?.into(), data, hash: None };
    Ok(AggrChunk {
        min_time: chunk.min_time_ms,
        max_time: chunk.max_time_ms,
        raw: Some(raw),
        ..AggrChunk::default()
    })
}

/// The labels of a series, among which the external ones override its own.
pub(super) fn set<'a>(
    builder: &mut LabelsBuilder,
    labels: &[Label],
    external: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Labels, StoreApiError> {
    builder.clear();
    for label in labels {
        builder.label(&label.name, &label.value);
    }
    for (name, value) in external {
        builder.set(name, value);
    }
    Ok(builder.without_empty_values().build()?)
}

/// The chunks of a series of a store at a place.
pub(super) fn chunks(
    labels: &Labels,
    chunks: Vec<AggrChunk>,
    place: Place,
    replica: Option<Replica>,
) -> Result<Vec<Chunk>, StoreApiError> {
    let chunk = |chunk: AggrChunk| {
        if chunk.min_time > chunk.max_time {
            return Err(StoreApiError::Chunks(labels.to_string()));
        }
        let raw = chunk.raw.ok_or_else(|| StoreApiError::NotRaw(labels.to_string()))?;
        let encoding = match Encoding::try_from(raw.r#type) {
            Ok(Encoding::Xor) => {
                let checked = xor::check(&raw.data);
                checked.map_err(|problem| StoreApiError::Chunk { labels: labels.to_string(), problem })?;
                1
            }
            Ok(Encoding::Histogram) => 2,
            Ok(Encoding::FloatHistogram) => 3,
            Err(_) => return Err(StoreApiError::Encoding(raw.r#type)),
        };
        let data: Bytes = place.mark(replica, encoding, &raw.data);
        Ok(Chunk::new(chunk.min_time, chunk.max_time, data))
    };
    chunks.into_iter().map(chunk).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn series(chunks: Vec<Chunk>) -> Series {
        Series::new(Labels::from_pairs([("__name__", "up"), ("job", "é\u{ff}")]).unwrap(), chunks)
    }

    fn back(messages: Vec<SeriesResponse>) -> Vec<Series> {
        let mut builder = LabelsBuilder::new();
        let series = messages.into_iter().map(|message| {
            let Some(series_response::Result::Series(series)) = message.result else { panic!("a series") };
            let labels = set(&mut builder, &series.labels, []).unwrap();
            let chunks = chunks(&labels, series.chunks, Place(0), None).unwrap();
            Series::new(labels, chunks)
        });
        series.collect()
    }

    #[test]
    fn a_series_comes_back_as_it_was() {
        let given = series(vec![
            Chunk::new(i64::MIN, -1, vec![1, 0, 0]),
            Chunk::new(0, 5, vec![2, 9]),
            Chunk::new(6, i64::MAX, vec![3]),
        ]);
        let mut messages = Vec::new();
        put_series(&given, &mut messages).unwrap();
        assert_eq!(back(messages), [given]);
        let given = series(Vec::new());
        let mut messages = Vec::new();
        put_series(&given, &mut messages).unwrap();
        assert_eq!(back(messages), [given]);
    }

    #[test]
    fn a_long_series_is_split_between_chunks() {
        let chunk = |at: i64, len: usize| Chunk::new(at, at, [&[1], &vec![0; len][..]].concat());
        let given = series(vec![
            chunk(0, 10),
            chunk(1, MESSAGE_BYTES * 2),
            chunk(2, MESSAGE_BYTES / 2),
            chunk(3, MESSAGE_BYTES / 3),
            chunk(4, MESSAGE_BYTES / 3),
        ]);
        let mut messages = Vec::new();
        let bytes = put_series(&given, &mut messages).unwrap();
        assert!(bytes > 3 * MESSAGE_BYTES, "{bytes}");
        let parts = back(messages);
        assert_eq!(parts.iter().map(|part| part.chunks.len()).collect::<Vec<_>>(), [1, 1, 2, 1]);
        assert!(parts.iter().all(|part| part.labels == given.labels));
        let chunks: Vec<_> = parts.into_iter().flat_map(|part| part.chunks).collect();
        assert_eq!(chunks, given.chunks);
    }

    #[test]
    fn encodings_without_a_name_are_an_error_both_ways() {
        for encoding in [0, 4, 0x7f] {
            let given = series(vec![Chunk::new(0, 1, vec![encoding, 1])]);
            assert_eq!(put_series(&given, &mut Vec::new()), Err(NoEncoding(encoding)));
        }
        let labels = Labels::new();
        let raw = |kind| Some(proto::Chunk { r#type: kind, data: Bytes::new(), hash: None });
        let chunk = |raw| AggrChunk { raw, ..AggrChunk::default() };
        let of = |chunk| chunks(&labels, vec![chunk], Place(0), None);
        assert!(matches!(of(chunk(raw(3))), Err(StoreApiError::Encoding(3))));
        assert!(matches!(of(chunk(None)), Err(StoreApiError::NotRaw(_))));
        assert!(matches!(of(chunk(raw(0))), Err(StoreApiError::Chunk { .. })));
        let wrong = AggrChunk { min_time: 1, raw: raw(0), ..AggrChunk::default() };
        assert!(matches!(of(wrong), Err(StoreApiError::Chunks(_))));
    }
}
