//! Messages as they are sent, and how much memory they take when they are decoded.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Buf;
use prost::Message;
use tonic::codec::{DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::proto::info::{InfoRequest, InfoResponse, StoreInfo, TsdbInfo};
use super::proto::{
    AggrChunk, Label, LabelNamesRequest, LabelNamesResponse, LabelSet, LabelValuesRequest,
    LabelValuesResponse, Series, SeriesRequest, SeriesResponse, WriteRequest, WriteResponse,
};
use crate::remote::weight::{Shape, TEXT, message, weight};

/// How much memory a message of a server may take.
const DECODED_BYTES: usize = 64 << 20;

/// A message of a server takes too much memory, or is none. It is what an error has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("a message, decoded, has more than {limit} bytes, which is the limit")]
    TooLong { limit: usize },
    #[error("a message is malformed")]
    Malformed,
}

static LABEL: Shape = message::<Label>(&[]);
static AGGR_CHUNK: Shape = message::<AggrChunk>(&[]);
static SERIES: Shape = message::<Series>(&[(1, &LABEL), (2, &AGGR_CHUNK)]);
static SERIES_RESPONSE: Shape = message::<SeriesResponse>(&[(1, &SERIES)]);
static NAMES: Shape = message::<LabelNamesResponse>(&[(1, &TEXT), (2, &TEXT)]);
static VALUES: Shape = message::<LabelValuesResponse>(&[(1, &TEXT), (2, &TEXT)]);
static LABEL_SET: Shape = message::<LabelSet>(&[(1, &LABEL)]);
static TSDB_INFO: Shape = message::<TsdbInfo>(&[(1, &LABEL_SET)]);
static STORE_INFO: Shape = message::<StoreInfo>(&[(6, &TSDB_INFO)]);
static INFO_RESPONSE: Shape = message::<InfoResponse>(&[(1, &LABEL_SET), (3, &STORE_INFO)]);

/// A message that is received.
pub(super) trait Weighed {
    /// What it is weighed by. Requests are weighed before they come here, by a limit of their own.
    const SHAPE: Option<&'static Shape> = None;
}

impl Weighed for SeriesRequest {}
impl Weighed for LabelNamesRequest {}
impl Weighed for LabelValuesRequest {}
impl Weighed for InfoRequest {}
// Nothing is written by it here.
impl Weighed for WriteRequest {}
impl Weighed for WriteResponse {}
impl Weighed for SeriesResponse {
    const SHAPE: Option<&'static Shape> = Some(&SERIES_RESPONSE);
}
impl Weighed for LabelNamesResponse {
    const SHAPE: Option<&'static Shape> = Some(&NAMES);
}
impl Weighed for LabelValuesResponse {
    const SHAPE: Option<&'static Shape> = Some(&VALUES);
}
impl Weighed for InfoResponse {
    const SHAPE: Option<&'static Shape> = Some(&INFO_RESPONSE);
}

fn check(message: &[u8], shape: &Shape, limit: usize) -> Result<(), DecodeError> {
    match weight(message, shape) {
        None => Err(DecodeError::Malformed),
        Some(bytes) if bytes > limit => Err(DecodeError::TooLong { limit }),
        Some(_) => Ok(()),
    }
}

/// As prost's, but messages are weighed before they are decoded. Made by what tonic generates.
pub(super) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Weighed + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = WeighedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        WeighedDecoder(ProstDecoder::default())
    }
}

pub(super) struct WeighedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + Weighed> Decoder for WeighedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A message is in one piece.
        if let Some(shape) = U::SHAPE
            && buffer.chunk().len() == buffer.remaining()
        {
            check(buffer.chunk(), shape, DECODED_BYTES).map_err(|error| {
                let mut status = Status::new(Code::ResourceExhausted, error.to_string());
                status.set_source(Arc::new(error));
                status
            })?;
        }
        self.0.decode(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store_api::proto::series_response::Result as Part;

    #[test]
    fn what_is_short_and_becomes_long_is_weighed_as_what_it_becomes() {
        let series = |series| SeriesResponse { result: Some(Part::Series(series)) }.encode_to_vec();
        let labels = series(Series { labels: vec![Label::default(); 1000], chunks: Vec::new() });
        let chunks = series(Series { labels: Vec::new(), chunks: vec![AggrChunk::default(); 1000] });
        let names = LabelNamesResponse { names: vec![String::new(); 1000], ..LabelNamesResponse::default() };
        let sets = vec![LabelSet { labels: vec![Label::default()] }; 1000];
        let info = InfoResponse { label_sets: sets, ..InfoResponse::default() };
        for (message, shape) in [
            (labels, &SERIES_RESPONSE),
            (chunks, &SERIES_RESPONSE),
            (names.encode_to_vec(), &NAMES),
            (info.encode_to_vec(), &INFO_RESPONSE),
        ] {
            assert!(message.len() < 5_000);
            let limit = 20_000;
            assert_eq!(check(&message, shape, limit), Err(DecodeError::TooLong { limit }));
            assert_eq!(check(&message, shape, 1_000_000), Ok(()));
            assert_eq!(check(&message[..message.len() - 1], shape, 1_000_000), Err(DecodeError::Malformed));
        }
    }
}
