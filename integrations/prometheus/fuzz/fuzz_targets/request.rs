//! Requests of any bytes: an error, or selectors within the limits that say what the request says.

#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use losertree::LeakLedger;
use losertree::stream::Closer;
use losertree_prometheus::block::Selector;
use losertree_prometheus::remote::proto::{LabelMatcher, MatcherType, Query, ReadRequest, ResponseType};
use losertree_prometheus::server::{RequestError, Server, ServerLimits};
use losertree_prometheus::{BlockStore, Gateway, Limits, MatchOp};
use prost::Message;

/// Less than the default ones, so that they are met.
fn limits() -> ServerLimits {
    let mut limits = ServerLimits::default();
    (limits.queries, limits.matchers, limits.decompressed_bytes) = (4, 4, 4 << 10);
    limits
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _entered = runtime.enter();
    let (ledger, closer) = (LeakLedger::off(), Closer::current().expect("in a runtime"));
    let store = Arc::new(BlockStore::new(None, BTreeMap::new(), &ledger));
    let gateway = Gateway::new(store, Limits::default(), &ledger, &closer).expect("limits");
    Server::new(Arc::new(gateway), limits(), Box::new(String::new))
});

/// What a request has to be to select that.
fn request(selectors: &[Selector], kind: ResponseType) -> ReadRequest {
    let query = |selector: &Selector| Query {
        start_timestamp_ms: selector.range.min_ms,
        end_timestamp_ms: selector.range.max_ms,
        matchers: selector
            .matchers
            .iter()
            .map(|matcher| LabelMatcher {
                r#type: match matcher.op() {
                    MatchOp::Equal => MatcherType::Eq,
                    MatchOp::NotEqual => MatcherType::Neq,
                    MatchOp::Regex => MatcherType::Re,
                    MatchOp::NotRegex => MatcherType::Nre,
                }
                .into(),
                name: matcher.name().into(),
                value: matcher.value().into(),
            })
            .collect(),
    };
    ReadRequest { queries: selectors.iter().map(query).collect(), accepted_response_types: vec![kind.into()] }
}

fuzz_target!(|data: &[u8]| {
    // The first byte says whether the rest is a body, or a message that is to be one: snappy is hard to guess.
    let (is_message, rest) = data.split_first().map_or((false, data), |(first, rest)| (first % 2 == 0, rest));
    let compress = |message: &[u8]| snap::raw::Encoder::new().compress_vec(message).expect("it is short");
    let body = if is_message { compress(rest) } else { rest.to_vec() };
    match SERVER.parse(&body) {
        Ok((selectors, kind)) => {
            let message = snap::raw::Decoder::new().decompress_vec(&body).expect("it was decompressed");
            let ServerLimits { queries, matchers, decompressed_bytes, .. } = limits();
            assert!(message.len() <= decompressed_bytes && selectors.len() <= queries);
            assert!(selectors.iter().all(|selector| selector.matchers.len() <= matchers));
            let mut said = ReadRequest::decode(message.as_slice()).expect("it was decoded");
            said.accepted_response_types = vec![kind.into()];
            assert_eq!(request(&selectors, kind), said);
            for matcher in selectors.iter().flat_map(|selector| &*selector.matchers) {
                let is_other = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
                if !matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex) {
                    assert_eq!(matcher.matches(matcher.value()), !is_other);
                }
                let _ = matcher.matches("");
            }
        }
        Err(RequestError::Query(error)) => panic!("nothing was asked yet: {error}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
