//! Names and values of labels, of blocks and of other servers.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use losertree::Labels;
use losertree::resource::Reservation;
use losertree::response::PartialResponseStrategy;

use super::client::{StoreApiStore, strategy};
use super::proto::{LabelNamesRequest, LabelValuesRequest};
use super::request::{LabelsAsked, Refused, Wanted};
use crate::block::{BlockError, Selector};
use crate::gateway::{Answered, Ask, Gateway, Query, QueryError, Turn};
use crate::matcher::{MatchOp, Matcher};

/// What an entry of a set takes besides its text.
const ENTRY_BYTES: usize = 64;

/// Names or values, in order, and what is missing among them.
#[derive(Debug)]
pub(super) struct LabelsAnswer {
    pub(super) texts: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// What they are charged to, until they are sent.
    pub(super) _held: Reservation,
}

/// Collects names or values, charged to the budget.
struct Collector<'a> {
    gateway: &'a Gateway,
    asked: &'a LabelsAsked,
    texts: BTreeSet<String>,
    warnings: Vec<String>,
    held: Reservation,
}

/// Answers a request for names or values.
pub(super) async fn labels(
    gateway: &Gateway,
    client: &str,
    turn: &Turn,
    asked: &LabelsAsked,
) -> Result<LabelsAnswer, Refused> {
    let held = gateway.memory().lists.reservation();
    let mut collector = Collector { gateway, asked, texts: BTreeSet::new(), warnings: Vec::new(), held };
    if let Wanted::Values(name) = &asked.wanted
        && asked.selector.without.contains(name)
    {
        // It is not there any more.
        return Ok(collector.finish());
    }
    let takes_all = asked.selector.matchers.is_empty();
    if takes_all {
        collector.of_indexes(client).await?;
    }
    if !takes_all || !gateway.remotes().is_empty() {
        collector.of_series(client, turn, takes_all).await?;
    }
    collector.of_servers().await?;
    Ok(collector.finish())
}

impl Collector<'_> {
    fn finish(self) -> LabelsAnswer {
        let texts = self.texts.into_iter().take(self.asked.limit).collect();
        LabelsAnswer { texts, warnings: self.warnings, _held: self.held }
    }

    async fn add(&mut self, text: String) -> Result<(), QueryError> {
        if matches!(self.asked.wanted, Wanted::Names) && self.asked.selector.without.contains(&text) {
            return Ok(());
        }
        let bytes = text.len() * 2 + ENTRY_BYTES;
        if self.texts.insert(text) {
            self.gateway.memory().grow(&mut self.held, bytes).await?;
        }
        Ok(())
    }

    /// Names or values of whole blocks, without a look at series.
    async fn of_indexes(&mut self, client: &str) -> Result<(), QueryError> {
        let reader: Arc<str> = format!("labels for {client}").into();
        for (block, guard) in self.gateway.store().enter(&reader, &self.asked.selector)? {
            let wanted = self.asked.wanted.clone();
            // There may be millions.
            let read = tokio::task::spawn_blocking(move || {
                let texts = match wanted {
                    Wanted::Names => block.label_names(),
                    Wanted::Values(name) => block.label_values(&name),
                };
                drop(guard);
                texts
            });
            // It does not panic, and is not cancelled but with all else.
            for text in read.await.unwrap_or_default() {
                self.add(text).await?;
            }
        }
        Ok(())
    }

    /// Those of the series that match: of blocks, unless these were asked already, and of servers that speak remote read alone. These
    /// can only be asked for series with all their chunks.
    async fn of_series(&mut self, client: &str, turn: &Turn, without_blocks: bool) -> Result<(), QueryError> {
        let ask = Ask {
            partial_response: self.asked.partial_response,
            skip_chunks: true,
            without_blocks,
            without_store_apis: true,
            ..Ask::new("labels")
        };
        let selector = self.with_label();
        let mut query = self.gateway.ask(client, &selector, turn.deadline, ask).await?;
        while let Some(answered) = next(&mut query).await.transpose()? {
            match answered {
                Answered::Series(series) => self.of_labels(&series.labels).await?,
                Answered::Warning(warning) => self.warnings.push(warning.to_string()),
            }
        }
        Ok(())
    }

    /// The selector for series that have the label at all. A server may refuse one that has no matchers.
    fn with_label(&self) -> Selector {
        let name = match &self.asked.wanted {
            Wanted::Values(name) => Some(name.as_str()),
            Wanted::Names if self.asked.selector.matchers.is_empty() => Some("__name__"),
            Wanted::Names => None,
        };
        let mut selector = self.asked.selector.clone();
        // It is no expression, which could be wrong.
        if let Some(has_label) = name.and_then(|name| Matcher::new(name, MatchOp::NotEqual, "").ok()) {
            selector.matchers = selector.matchers.iter().cloned().chain([has_label]).collect();
        }
        selector
    }

    async fn of_labels(&mut self, labels: &Labels) -> Result<(), QueryError> {
        match &self.asked.wanted {
            Wanted::Names => {
                for (name, _) in labels {
                    if !self.texts.contains(&*name) {
                        self.add(name.into()).await?;
                    }
                }
            }
            Wanted::Values(name) => {
                if let Some(value) = labels.get(name).filter(|value| !self.texts.contains(&**value)) {
                    self.add(value.into()).await?;
                }
            }
        }
        Ok(())
    }

    /// Those of servers that speak the StoreAPI.
    async fn of_servers(&mut self) -> Result<(), Refused> {
        let asked = self.asked;
        let servers = self.gateway.store_apis().iter().filter(|server| server.can_match(&asked.selector));
        let answers = servers.map(async |server| (server, of_server(server, asked).await));
        for (server, answer) in join_all(answers).await {
            let (texts, warnings) = match answer {
                Ok(answer) => answer,
                Err(problem) if asked.partial_response == PartialResponseStrategy::Warn => {
                    self.warnings.push(server.error(problem).to_string());
                    continue;
                }
                Err(problem) => return Err(server.error(problem).into()),
            };
            for text in texts {
                self.add(text).await?;
            }
            let said = |warning: String| format!("{}: {}", server.name(), server.warning(&warning));
            self.warnings.extend(warnings.into_iter().map(said));
        }
        Ok(())
    }
}

/// The next part of an answer.
pub(super) async fn next(query: &mut Query) -> Option<Result<Answered, QueryError>> {
    std::future::poll_fn(|cx| query.poll_answered(cx)).await
}

type Texts = (Vec<String>, Vec<String>);

async fn of_server(server: &StoreApiStore, asked: &LabelsAsked) -> Result<Texts, super::StoreApiError> {
    let strategy = strategy(asked.partial_response);
    let is_disabled = asked.partial_response == PartialResponseStrategy::Abort;
    let names = |limit| LabelNamesRequest {
        partial_response_disabled: is_disabled,
        partial_response_strategy: strategy.into(),
        start: asked.selector.range.min_ms,
        end: asked.selector.range.max_ms,
        matchers: server.matchers(&asked.selector),
        limit,
        ..LabelNamesRequest::default()
    };
    let external = server.external_labels();
    match &asked.wanted {
        Wanted::Values(name) if external.contains_key(name) => {
            // All its series have that one, if there are some.
            let request = names(1);
            let answer = server.call(async |client| client.label_names(request).await).await?;
            let value = external.get(name).filter(|value| !value.is_empty() && !answer.names.is_empty());
            Ok((value.cloned().into_iter().collect(), answer.warnings))
        }
        Wanted::Values(name) => {
            let request = LabelValuesRequest {
                label: name.clone(),
                partial_response_disabled: is_disabled,
                partial_response_strategy: strategy.into(),
                start: asked.selector.range.min_ms,
                end: asked.selector.range.max_ms,
                matchers: server.matchers(&asked.selector),
                ..LabelValuesRequest::default()
            };
            let answer = server.call(async |client| client.label_values(request).await).await?;
            Ok((answer.values, answer.warnings))
        }
        Wanted::Names => {
            let request = names(0);
            let answer = server.call(async |client| client.label_names(request).await).await?;
            let mut all = answer.names;
            if !all.is_empty() {
                all.retain(|name| !external.contains_key(name));
                let own = external.iter().filter(|(_, value)| !value.is_empty());
                all.extend(own.map(|(name, _)| name.clone()));
            }
            Ok((all, answer.warnings))
        }
    }
}

/// Why a block cannot be entered is why a query cannot be asked.
impl From<BlockError> for Refused {
    fn from(error: BlockError) -> Self {
        QueryError::from(error).into()
    }
}
