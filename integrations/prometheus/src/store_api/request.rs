//! Requests, checked, and why one is refused.

use std::sync::Arc;

use losertree::response::{PartialResponseStrategy, ShardError, ShardMatcher};
use tonic::{Code, Status};

use super::client::cut_text;
use super::messages::NoEncoding;
use super::proto::label_matcher::Type;
use super::proto::{
    self, Aggr, LabelMatcher, LabelNamesRequest, LabelValuesRequest, SeriesRequest, ShardInfo,
};
use crate::block::{Interval, Selector};
use crate::connections::ReceiveError;
use crate::gateway::{Ask, QueryError, StoreError};
use crate::go_regex::RegexBudget;
use crate::matcher::{MatchOp, Matcher, MatcherError};
use crate::remote::weight::{NUMBER, Shape, TEXT, message, weight};
use crate::security::AuthError;
use crate::server::ServerLimits;

/// Why a request is refused, or its answer ends with an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("only thanos.Store and thanos.info.Info are served")]
    NoMethod,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("{limit} calls are under way, which is the limit")]
    Calls { limit: usize },
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("the request is malformed")]
    Malformed,
    #[error("the request has more than {limit} bytes when it is decoded, which is the limit")]
    Decoded { limit: usize },
    #[error("the request has {count} {what}, more than the limit of {limit}")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("{field} is {value}, and cannot be negative")]
    Negative { field: &'static str, value: i64 },
    #[error("{field} is {value}, which has no meaning")]
    Unknown { field: &'static str, value: i32 },
    #[error("{field} is not supported")]
    Unsupported { field: &'static str },
    #[error("the name of a label is missing")]
    NoLabel,
    #[error("shard_info: {0}")]
    Shard(#[from] ShardError),
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    #[error(transparent)]
    Encoding(#[from] NoEncoding),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the client has not taken its answer for {0:?}, and others wait")]
    Stalled(std::time::Duration),
    #[error("the gateway is being stopped")]
    Stopping,
    #[error("{0}")]
    Closed(&'static str),
}

impl Refused {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::TooMany { .. }
            | Self::Negative { .. }
            | Self::Unknown { .. }
            | Self::NoLabel
            | Self::Shard(_)
            | Self::Malformed
            | Self::Matcher(_) => Code::InvalidArgument,
            Self::Auth(AuthError::Unauthorized) => Code::Unauthenticated,
            Self::Calls { .. } | Self::Decoded { .. } | Self::Receive(ReceiveError::TooLong { .. }) => {
                Code::ResourceExhausted
            }
            Self::Receive(ReceiveError::TooSlow { .. }) => Code::DeadlineExceeded,
            Self::NoMethod | Self::Unsupported { .. } => Code::Unimplemented,
            Self::Encoding(_) => Code::Internal,
            // What Thanos ends with that cannot go on without a store.
            Self::Store(_) => Code::Aborted,
            Self::Query(error) => match (error.status(), error) {
                (413, _) => Code::ResourceExhausted,
                (503, _) => Code::Unavailable,
                (504, _) => Code::DeadlineExceeded,
                (_, QueryError::Store(_) | QueryError::Block(_)) => Code::Aborted,
                _ => Code::Internal,
            },
            Self::Auth(AuthError::Busy)
            | Self::Receive(ReceiveError::Body(_))
            | Self::Stalled(_)
            | Self::Stopping
            | Self::Closed(_) => Code::Unavailable,
        }
    }

    pub(super) fn status(&self) -> Status {
        // It is a header, and those have limits where they are received.
        Status::new(self.code(), cut_text(&self.to_string()))
    }
}

static MATCHER: Shape = message::<LabelMatcher>(&[]);
static SHARD_INFO: Shape = message::<ShardInfo>(&[(4, &TEXT)]);
static GROUPING: Shape = message::<proto::Grouping>(&[(3, &TEXT)]);
static QUERY_HINTS: Shape = message::<proto::QueryHints>(&[(4, &GROUPING)]);
static SERIES_REQUEST: Shape = message::<SeriesRequest>(&[
    (3, &MATCHER),
    (5, &NUMBER),
    (12, &QUERY_HINTS),
    (13, &SHARD_INFO),
    (14, &TEXT),
]);
static LABEL_NAMES_REQUEST: Shape = message::<LabelNamesRequest>(&[(6, &MATCHER), (7, &TEXT)]);
static LABEL_VALUES_REQUEST: Shape = message::<LabelValuesRequest>(&[(7, &MATCHER), (8, &TEXT)]);

/// Checks how much memory a request takes when it is decoded, before it is: two bytes can become a matcher.
pub(super) fn weigh(method: &str, body: &[u8], limit: usize) -> Result<(), Refused> {
    let shape = match method {
        "Series" => &SERIES_REQUEST,
        "LabelNames" => &LABEL_NAMES_REQUEST,
        "LabelValues" => &LABEL_VALUES_REQUEST,
        // What it has is not looked at.
        _ => return Ok(()),
    };
    // Before the message there is a byte, and its length. What is not as it should be is refused where it is decoded.
    let Some((&[_, length @ ..], rest)) = body.split_first_chunk::<5>() else { return Ok(()) };
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let Some(message) = rest.get(..length) else { return Ok(()) };
    match weight(message, shape) {
        None => Err(Refused::Malformed),
        Some(bytes) if bytes > limit => Err(Refused::Decoded { limit }),
        Some(_) => Ok(()),
    }
}

/// A part of the series, as a client wants it.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub(crate) matcher: ShardMatcher,
    pub(crate) asked: ShardInfo,
}

/// What is asked of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Names,
    Values(String),
}

/// A request for names or values of labels.
#[derive(Debug)]
pub(super) struct LabelsAsked {
    pub(super) wanted: Wanted,
    pub(super) selector: Selector,
    pub(super) partial_response: PartialResponseStrategy,
    pub(super) limit: usize,
}

/// Checks requests.
pub(super) struct Checker<'a> {
    pub(super) limits: &'a ServerLimits,
    /// Labels that are always taken off.
    pub(super) without: &'a [String],
}

impl Checker<'_> {
    fn at_most(&self, what: &'static str, count: usize) -> Result<(), Refused> {
        let limit = self.limits.matchers;
        if count > limit { Err(Refused::TooMany { what, count, limit }) } else { Ok(()) }
    }

    pub(super) fn series(&self, request: SeriesRequest) -> Result<(Selector, Ask), Refused> {
        if request.hints.is_some() {
            return Err(Refused::Unsupported { field: "hints" });
        }
        not_negative("max_resolution_window", request.max_resolution_window)?;
        // Which aggregates are wanted of chunks that are downsampled. Samples stand for all of them, and all chunks have samples here.
        if let Some(unknown) = request.aggregates.iter().find(|number| Aggr::try_from(**number).is_err()) {
            return Err(Refused::Unknown { field: "an element of aggregates", value: *unknown });
        }
        let selector = self.selector(
            &request.matchers,
            (request.min_time, request.max_time),
            request.without_replica_labels,
        )?;
        let shard = request.shard_info.filter(|shard| *shard != ShardInfo::default());
        let ask = Ask {
            partial_response: strategy(request.partial_response_disabled, request.partial_response_strategy)?,
            shard: shard.map(|shard| self.shard(shard)).transpose()?,
            limit: limit(request.limit)?,
            skip_chunks: request.skip_chunks,
            ..Ask::new("StoreAPI")
        };
        Ok((selector, ask))
    }

    pub(super) fn label_names(&self, request: LabelNamesRequest) -> Result<LabelsAsked, Refused> {
        if request.hints.is_some() {
            return Err(Refused::Unsupported { field: "hints" });
        }
        let range = (request.start, request.end);
        Ok(LabelsAsked {
            wanted: Wanted::Names,
            selector: self.selector(&request.matchers, range, request.without_replica_labels)?,
            partial_response: strategy(request.partial_response_disabled, request.partial_response_strategy)?,
            limit: usize::try_from(limit(request.limit)?).unwrap_or(usize::MAX),
        })
    }

    pub(super) fn label_values(&self, request: LabelValuesRequest) -> Result<LabelsAsked, Refused> {
        if request.hints.is_some() {
            return Err(Refused::Unsupported { field: "hints" });
        }
        if request.label.is_empty() {
            return Err(Refused::NoLabel);
        }
        let range = (request.start, request.end);
        Ok(LabelsAsked {
            wanted: Wanted::Values(request.label),
            selector: self.selector(&request.matchers, range, request.without_replica_labels)?,
            partial_response: strategy(request.partial_response_disabled, request.partial_response_strategy)?,
            limit: usize::try_from(limit(request.limit)?).unwrap_or(usize::MAX),
        })
    }

    fn selector(
        &self,
        matchers: &[LabelMatcher],
        (min_ms, max_ms): (i64, i64),
        without: Vec<String>,
    ) -> Result<Selector, Refused> {
        self.at_most("matchers", matchers.len())?;
        self.at_most("labels to be taken off", without.len())?;
        let mut checked = Vec::with_capacity(matchers.len());
        let mut budget = RegexBudget::new(self.limits.pattern_bytes, self.limits.compiled_bytes);
        for matcher in matchers {
            let op = match Type::try_from(matcher.r#type) {
                Ok(Type::Eq) => MatchOp::Equal,
                Ok(Type::Neq) => MatchOp::NotEqual,
                Ok(Type::Re) => MatchOp::Regex,
                Ok(Type::Nre) => MatchOp::NotRegex,
                Err(_) => {
                    return Err(Refused::Unknown { field: "the type of a matcher", value: matcher.r#type });
                }
            };
            checked.push(Matcher::within(&matcher.name, op, &matcher.value, &mut budget)?);
        }
        let mut without = without;
        without.extend(self.without.iter().cloned());
        without.sort_unstable();
        without.dedup();
        let range = Interval::new(min_ms, max_ms);
        Ok(Selector { matchers: checked.into(), range, without: Arc::from(without) })
    }

    fn shard(&self, asked: ShardInfo) -> Result<Shard, Refused> {
        self.at_most("labels of a shard", asked.labels.len())?;
        let number = |field, value: i64| u64::try_from(value).map_err(|_| Refused::Negative { field, value });
        let index = number("shard_info.shard_index", asked.shard_index)?;
        let total = number("shard_info.total_shards", asked.total_shards)?;
        let matcher = if asked.by {
            ShardMatcher::by(&asked.labels, index, total)?
        } else {
            ShardMatcher::without(&asked.labels, index, total)?
        };
        Ok(Shard { matcher, asked })
    }
}

fn not_negative(field: &'static str, value: i64) -> Result<(), Refused> {
    if value < 0 { Err(Refused::Negative { field, value }) } else { Ok(()) }
}

/// No limit is 0.
fn limit(limit: i64) -> Result<u64, Refused> {
    not_negative("limit", limit)?;
    Ok(if limit == 0 { u64::MAX } else { limit.unsigned_abs() })
}

/// The older field of the two that say it asks for the same as the newer one.
fn strategy(is_disabled: bool, strategy: i32) -> Result<PartialResponseStrategy, Refused> {
    match proto::PartialResponseStrategy::try_from(strategy) {
        Ok(proto::PartialResponseStrategy::Warn) if !is_disabled => Ok(PartialResponseStrategy::Warn),
        Ok(_) => Ok(PartialResponseStrategy::Abort),
        Err(_) => Err(Refused::Unknown { field: "partial_response_strategy", value: strategy }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(request: SeriesRequest) -> Result<(Selector, Ask), Refused> {
        Checker { limits: &ServerLimits::default(), without: &["replica".to_owned()] }.series(request)
    }

    #[test]
    fn what_is_asked_is_understood() {
        let matcher = |kind: Type, value: &str| LabelMatcher {
            r#type: kind.into(),
            name: "a".into(),
            value: value.into(),
        };
        let (selector, ask) = check(SeriesRequest {
            min_time: -5,
            max_time: 7,
            matchers: vec![
                matcher(Type::Eq, "b"),
                matcher(Type::Neq, "c"),
                matcher(Type::Re, "d.*"),
                matcher(Type::Nre, "e"),
            ],
            max_resolution_window: 300_000,
            aggregates: (0..=5).collect(),
            skip_chunks: true,
            step: 5,
            range: 6,
            query_hints: Some(proto::QueryHints::default()),
            shard_info: Some(ShardInfo {
                shard_index: 1,
                total_shards: 3,
                by: true,
                labels: vec!["a".into()],
            }),
            without_replica_labels: vec!["zone".into(), "replica".into()],
            limit: 9,
            ..SeriesRequest::default()
        })
        .unwrap();
        let matchers: Vec<_> = selector.matchers.iter().map(ToString::to_string).collect();
        assert_eq!(matchers, [r#"a="b""#, r#"a!="c""#, r#"a=~"d.*""#, r#"a!~"e""#]);
        assert_eq!(selector.range, Interval::new(-5, 7));
        assert_eq!(*selector.without, ["replica", "zone"]);
        assert_eq!((ask.limit, ask.skip_chunks), (9, true));
        assert_eq!(ask.partial_response, PartialResponseStrategy::Warn);
        let shard = ask.shard.unwrap();
        assert_eq!(
            (shard.matcher.index(), shard.matcher.total(), shard.asked.labels),
            (1, 3, vec!["a".into()])
        );
    }

    #[test]
    fn a_request_is_weighed_as_what_it_becomes() {
        fn framed(message: &impl prost::Message) -> Vec<u8> {
            let bytes = message.encode_to_vec();
            let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            [&[0], &length[..], &bytes].concat()
        }
        let matchers = vec![LabelMatcher::default(); 1000];
        let without_replica_labels = vec![String::new(); 1000];
        let series = SeriesRequest { matchers: matchers.clone(), ..SeriesRequest::default() };
        let names = LabelNamesRequest { without_replica_labels, ..LabelNamesRequest::default() };
        let values = LabelValuesRequest { matchers, ..LabelValuesRequest::default() };
        for (method, body) in
            [("Series", framed(&series)), ("LabelNames", framed(&names)), ("LabelValues", framed(&values))]
        {
            assert!(body.len() < 2_100);
            assert!(weigh(method, &body, 100_000).is_ok());
            assert!(matches!(weigh(method, &body, 20_000), Err(Refused::Decoded { limit: 20_000 })));
            assert!(matches!(weigh(method, &[0, 0, 0, 0, 1, 0x1b], 20_000), Err(Refused::Malformed)));
            assert!(weigh(method, &body[..4], 1).is_ok() && weigh(method, &body[..9], 1).is_ok());
        }
    }

    #[test]
    fn no_limit_no_shard_and_abort() {
        let (selector, ask) = check(SeriesRequest {
            partial_response_disabled: true,
            shard_info: Some(ShardInfo::default()),
            ..SeriesRequest::default()
        })
        .unwrap();
        assert_eq!((ask.limit, ask.shard.is_none()), (u64::MAX, true));
        assert_eq!(ask.partial_response, PartialResponseStrategy::Abort);
        assert_eq!(*selector.without, ["replica"]);
        let (_, ask) =
            check(SeriesRequest { partial_response_strategy: 1, ..SeriesRequest::default() }).unwrap();
        assert_eq!(ask.partial_response, PartialResponseStrategy::Abort);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let default = SeriesRequest::default;
        let shard = |shard_index, total_shards, names| {
            let labels = vec!["a".to_owned(); names];
            Some(ShardInfo { shard_index, total_shards, by: false, labels })
        };
        let matcher = LabelMatcher { r#type: 2, name: "a".into(), value: "(".into() };
        let unknown = LabelMatcher { r#type: 4, ..LabelMatcher::default() };
        for (request, code, part) in [
            (
                SeriesRequest { hints: Some(prost_types::Any::default()), ..default() },
                Code::Unimplemented,
                "hints",
            ),
            (SeriesRequest { aggregates: vec![0, 6], ..default() }, Code::InvalidArgument, "aggregates is 6"),
            (
                SeriesRequest { max_resolution_window: -1, ..default() },
                Code::InvalidArgument,
                "max_resolution",
            ),
            (SeriesRequest { limit: -1, ..default() }, Code::InvalidArgument, "limit is -1"),
            (
                SeriesRequest { partial_response_strategy: 2, ..default() },
                Code::InvalidArgument,
                "strategy is 2",
            ),
            (
                SeriesRequest { shard_info: shard(-1, 2, 0), ..default() },
                Code::InvalidArgument,
                "shard_index is -1",
            ),
            (
                SeriesRequest { shard_info: shard(0, -2, 0), ..default() },
                Code::InvalidArgument,
                "total_shards is -2",
            ),
            (
                SeriesRequest { shard_info: shard(2, 2, 0), ..default() },
                Code::InvalidArgument,
                "no shard 2 of 2",
            ),
            (SeriesRequest { shard_info: shard(1, 0, 0), ..default() }, Code::InvalidArgument, "0 shards"),
            (
                SeriesRequest { shard_info: shard(0, 1, 129), ..default() },
                Code::InvalidArgument,
                "129 labels of a shard",
            ),
            (SeriesRequest { matchers: vec![matcher], ..default() }, Code::InvalidArgument, "\"a\""),
            (SeriesRequest { matchers: vec![unknown], ..default() }, Code::InvalidArgument, "a matcher is 4"),
            (
                SeriesRequest { matchers: vec![LabelMatcher::default(); 129], ..default() },
                Code::InvalidArgument,
                "129 matchers",
            ),
            (
                SeriesRequest { without_replica_labels: vec![String::new(); 129], ..default() },
                Code::InvalidArgument,
                "129 labels to be taken off",
            ),
        ] {
            let refused = check(request).unwrap_err();
            assert_eq!(refused.code(), code, "{refused}");
            assert!(refused.to_string().contains(part), "{refused}");
        }
        let limits = ServerLimits::default();
        let checker = Checker { limits: &limits, without: &[] };
        let hints = || Some(prost_types::Any::default());
        let refused = [
            checker.label_names(LabelNamesRequest { hints: hints(), ..LabelNamesRequest::default() }),
            checker.label_names(LabelNamesRequest { limit: -1, ..LabelNamesRequest::default() }),
            checker.label_values(LabelValuesRequest { hints: hints(), ..LabelValuesRequest::default() }),
            checker.label_values(LabelValuesRequest::default()),
        ];
        let codes: Vec<_> = refused.into_iter().map(|refused| refused.unwrap_err().code()).collect();
        let [invalid, unimplemented] = [Code::InvalidArgument, Code::Unimplemented];
        assert_eq!(codes, [unimplemented, invalid, unimplemented, invalid]);
    }
}
