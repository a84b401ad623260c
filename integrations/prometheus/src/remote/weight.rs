//! How much memory a message takes when it is decoded, found out before it is: two bytes of a message can be a value of a hundred.

use prost::encoding::{WireType, decode_key, decode_varint};

use super::proto;

/// What a field is decoded to.
pub(crate) struct Shape {
    /// How many bytes a value takes in itself.
    bytes: usize,
    parts: Parts,
}

enum Parts {
    /// A message, with those of its fields that take more than what is counted for it: messages and what is repeated.
    Message(&'static [(u32, &'static Shape)]),
    /// Numbers, which may be packed.
    Numbers,
}

const fn message<T>(fields: &'static [(u32, &'static Shape)]) -> Shape {
    Shape { bytes: size_of::<T>(), parts: Parts::Message(fields) }
}

static LABEL: Shape = message::<proto::Label>(&[]);
static SAMPLE: Shape = message::<proto::Sample>(&[]);
static CHUNK: Shape = message::<proto::Chunk>(&[]);
static MATCHER: Shape = message::<proto::LabelMatcher>(&[]);
static QUERY: Shape = message::<proto::Query>(&[(3, &MATCHER)]);
static RESPONSE_TYPE: Shape = Shape { bytes: size_of::<i32>(), parts: Parts::Numbers };
static TIME_SERIES: Shape = message::<proto::TimeSeries>(&[(1, &LABEL), (2, &SAMPLE)]);
static QUERY_RESULT: Shape = message::<proto::QueryResult>(&[(1, &TIME_SERIES)]);
static CHUNKED_SERIES: Shape = message::<proto::ChunkedSeries>(&[(1, &LABEL), (2, &CHUNK)]);

/// Of [`proto::ReadRequest`].
pub(crate) static READ_REQUEST: Shape = message::<proto::ReadRequest>(&[(1, &QUERY), (2, &RESPONSE_TYPE)]);
/// Of [`proto::ReadResponse`].
pub(crate) static READ_RESPONSE: Shape = message::<proto::ReadResponse>(&[(1, &QUERY_RESULT)]);
/// Of [`proto::ChunkedReadResponse`].
pub(crate) static CHUNKED_READ_RESPONSE: Shape =
    message::<proto::ChunkedReadResponse>(&[(1, &CHUNKED_SERIES)]);

/// Returns how many bytes a message takes when it is decoded, texts included. `None` if it is malformed.
pub(crate) fn weight(mut rest: &[u8], shape: &Shape) -> Option<usize> {
    let Parts::Message(fields) = shape.parts else { return Some(shape.bytes) };
    let mut total = shape.bytes;
    while !rest.is_empty() {
        let (tag, kind) = decode_key(&mut rest).ok()?;
        let field = fields.iter().find(|(number, _)| *number == tag).map(|(_, shape)| *shape);
        let more = match kind {
            WireType::Varint => {
                decode_varint(&mut rest).ok()?;
                field.map_or(0, |shape| shape.bytes)
            }
            WireType::SixtyFourBit => {
                rest = rest.get(8..)?;
                0
            }
            WireType::ThirtyTwoBit => {
                rest = rest.get(4..)?;
                0
            }
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let (value, others) = rest.split_at_checked(len)?;
                rest = others;
                match field {
                    None => len,
                    Some(Shape { bytes, parts: Parts::Numbers }) => len.saturating_mul(*bytes),
                    Some(shape) => weight(value, shape)?,
                }
            }
            // Nobody sends groups.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        total = total.saturating_add(more);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use prost::Message;

    #[test]
    fn what_is_short_and_becomes_long_is_weighed_as_what_it_becomes() {
        let matchers = vec![proto::LabelMatcher::default(); 1000];
        let query = proto::Query { matchers, ..Default::default() };
        let request = proto::ReadRequest { queries: vec![query; 2], accepted_response_types: vec![0; 500] };
        let message = request.encode_to_vec();
        let wanted = 2000 * size_of::<proto::LabelMatcher>() + 2 * size_of::<proto::Query>() + 500 * 4;
        let weight_of = weight(&message, &READ_REQUEST).unwrap();
        assert_eq!(weight_of, wanted + size_of::<proto::ReadRequest>());
        assert!(weight_of > 20 * message.len());
        let series = proto::ChunkedSeries {
            labels: vec![proto::Label { name: "a".into(), value: "bc".into() }],
            chunks: vec![proto::Chunk { data: vec![0; 100].into(), ..Default::default() }; 3],
        };
        let frame = proto::ChunkedReadResponse { chunked_series: vec![series; 10], query_index: 7 };
        let each = size_of::<proto::ChunkedSeries>()
            + size_of::<proto::Label>()
            + 3
            + 3 * (size_of::<proto::Chunk>() + 100);
        let wanted = 10 * each + size_of::<proto::ChunkedReadResponse>();
        assert_eq!(weight(&frame.encode_to_vec(), &CHUNKED_READ_RESPONSE), Some(wanted));
        let samples = vec![proto::Sample { value: 1.0, timestamp: 1 }; 9];
        let series = proto::TimeSeries { labels: vec![], samples };
        let results = vec![proto::QueryResult { timeseries: vec![series] }];
        let answer = proto::ReadResponse { results }.encode_to_vec();
        let wanted = 9 * 16
            + size_of::<proto::TimeSeries>()
            + size_of::<proto::QueryResult>()
            + size_of::<proto::ReadResponse>();
        assert_eq!(weight(&answer, &READ_RESPONSE), Some(wanted));
    }

    #[test]
    fn what_prost_refuses_is_malformed_and_nothing_else_is() {
        // Every message of three bytes that matters: a tag, a length or a number, and another one.
        for first in 0..=255 {
            for second in [0, 1, 2, 3, 10, 0x7f, 0x80, 0xff] {
                for third in [0, 1, 2, 8, 10, 11, 12, 18, 0x80, 0xff] {
                    let bytes = [first, second, third];
                    let is_decoded = proto::ReadRequest::decode(&bytes[..]).is_ok();
                    if is_decoded && first & 7 != 3 && third & 7 != 3 {
                        assert!(weight(&bytes, &READ_REQUEST).is_some(), "{bytes:?}");
                    }
                }
            }
        }
        for malformed in
            [&b"\xff\xff"[..], b"\x0a\x05a", b"\x0b", b"\x0d\x01", b"\x09\x01", b"\x0a\x02\x1a\x05"]
        {
            assert_eq!(weight(malformed, &READ_REQUEST), None, "{malformed:?}");
        }
    }
}
