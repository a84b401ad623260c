//! Other servers, as they are configured.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use losertree_prometheus::StoreApiStore;
use losertree_prometheus::remote::{AddressError, RemoteLimits, RemoteStore};
use losertree_prometheus::security::{DialerConfig, DialerSecurity};
use serde_json::{Map, Value};

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    RemoteRead,
    StoreApi,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::RemoteRead, Self::StoreApi];

    /// The name of its option.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::RemoteRead => "store",
            Self::StoreApi => "store-api",
        }
    }

    /// Checks an address, of which it may be that it has to be kept from being printed.
    fn check(self, address: &str) -> Result<(), String> {
        let checked = match self {
            Self::RemoteRead => RemoteStore::check(address),
            Self::StoreApi => StoreApiStore::check(address),
        };
        checked.map_err(|error| error.to_string())
    }
}

/// A server that is asked.
pub(crate) struct Configured {
    pub(crate) kind: Kind,
    address: String,
    labels: Vec<(String, String)>,
    security: DialerConfig,
}

impl Configured {
    /// Reads an address with labels behind it.
    pub(crate) fn read(kind: Kind, text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let address = parts.next().unwrap_or_default();
        // First, since the address may have to be kept from being printed.
        kind.check(address)?;
        let labels = parts.map(label).collect::<Result<Vec<_>, _>>();
        let labels = labels.map_err(|problem| format!("{}: {problem}", printed(address)))?;
        Ok(Self { kind, address: address.into(), labels, security: DialerConfig::default() })
    }

    /// Reads a table: `address`, `labels`, and the names of Prometheus' HTTP client configuration. Paths are taken from a directory.
    pub(crate) fn read_table(kind: Kind, table: &toml::Table, dir: &Path) -> Result<Self, String> {
        let mut table = table.clone();
        let Some(toml::Value::String(address)) = table.remove("address") else {
            return Err("it has no address, which is a text".into());
        };
        kind.check(&address)?;
        let wrong = |problem: String| format!("{}: {problem}", printed(&address));
        let mut labels = Vec::new();
        match table.remove("labels") {
            None => {}
            Some(toml::Value::Table(table)) => {
                for (name, value) in table {
                    let toml::Value::String(value) = value else {
                        return Err(wrong(format!("labels.{name}: it has to be text")));
                    };
                    labels.push(label(&format!("{name}={value}")).map_err(&wrong)?);
                }
            }
            Some(_) => return Err(wrong("labels: it has to be a table".into())),
        }
        // What it would say of a value has the value in it.
        let fields = table.into_iter().map(|(name, value)| Some((name, serde_json::to_value(value).ok()?)));
        let fields: Option<Map<String, Value>> = fields.collect();
        let fields = fields.ok_or_else(|| wrong("a value is a number that is none".into()))?;
        let security = DialerConfig::read(fields, dir).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { kind, address, labels, security })
    }

    /// Makes it ready to be asked. Reads the files that are named.
    pub(crate) fn open<S: Asked>(self, limits: &RemoteLimits) -> Result<S, String> {
        let Self { address, labels, security, .. } = self;
        let labels = once_each(labels)
            .map_err(|name| format!("{}: the label {name} is given twice", printed(&address)))?;
        let store =
            S::secured(&address, labels, limits.clone(), security).map_err(|error| error.to_string())?;
        let address = printed(&address);
        if store.security().exposes_secret() {
            eprintln!(
                "warning: {address} is sent a secret that everybody on the way can read: there is https://"
            );
        }
        if store.security().skips_verify() {
            eprintln!("warning: {address} may be anybody: insecure_skip_verify is set");
        }
        Ok(store)
    }
}

/// An address as it can be printed: what follows a question mark may be a secret.
fn printed(address: &str) -> &str {
    address.split('?').next().unwrap_or_default()
}

/// A server of either kind.
pub(crate) trait Asked: Sized {
    fn secured(
        address: &str,
        labels: BTreeMap<String, String>,
        limits: RemoteLimits,
        security: DialerConfig,
    ) -> Result<Self, AddressError>;

    fn name(&self) -> &str;

    fn security(&self) -> &Arc<DialerSecurity>;
}

impl Asked for RemoteStore {
    fn secured(
        address: &str,
        labels: BTreeMap<String, String>,
        limits: RemoteLimits,
        security: DialerConfig,
    ) -> Result<Self, AddressError> {
        Self::secured(address, labels, limits, security)
    }

    fn name(&self) -> &str {
        self.name()
    }

    fn security(&self) -> &Arc<DialerSecurity> {
        self.security()
    }
}

impl Asked for StoreApiStore {
    fn secured(
        address: &str,
        labels: BTreeMap<String, String>,
        limits: RemoteLimits,
        security: DialerConfig,
    ) -> Result<Self, AddressError> {
        Self::secured(address, labels, limits, security)
    }

    fn name(&self) -> &str {
        self.name()
    }

    fn security(&self) -> &Arc<DialerSecurity> {
        self.security()
    }
}

/// Makes all servers of a kind ready to be asked, and says to each by which name its files are read again.
pub(crate) fn open_all<S: Asked>(
    kind: Kind,
    configured: &mut Vec<Configured>,
    limits: &RemoteLimits,
) -> Result<(Vec<S>, Dialers), String> {
    let (those, others) = std::mem::take(configured).into_iter().partition(|store| store.kind == kind);
    *configured = others;
    let stores: Vec<Configured> = those;
    let stores = stores.into_iter().map(|store| store.open(limits));
    let stores: Vec<S> =
        stores.collect::<Result<_, _>>().map_err(|error| format!("--{}: {error}", kind.option()))?;
    let dialers = stores.iter().map(|store| (store.name().to_owned(), Arc::clone(store.security())));
    let dialers = dialers.collect();
    Ok((stores, dialers))
}

/// How servers are asked, and their names.
pub(crate) type Dialers = Vec<(String, Arc<DialerSecurity>)>;

/// Reads the name and the value of a label.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if is_name(name) {
        Ok((name.into(), value.into()))
    } else {
        Err(format!("{name:?} is no name of a label"))
    }
}

/// Labels as a set, or the name that is given twice.
pub(crate) fn once_each(labels: Vec<(String, String)>) -> Result<BTreeMap<String, String>, String> {
    let mut set = BTreeMap::new();
    for (name, value) in labels {
        if set.insert(name.clone(), value).is_some() {
            return Err(name);
        }
    }
    Ok(set)
}
