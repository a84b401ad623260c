//! Other servers, as they are configured.

use std::collections::BTreeMap;
use std::path::Path;

use losertree_prometheus::remote::{RemoteLimits, RemoteStore};
use losertree_prometheus::security::DialerConfig;
use serde_json::{Map, Value};

/// A server that is asked.
pub(crate) struct Configured {
    address: String,
    labels: Vec<(String, String)>,
    security: DialerConfig,
}

impl Configured {
    /// Reads an address with labels behind it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let address = parts.next().unwrap_or_default();
        // First, since the address may have to be kept from being printed.
        RemoteStore::check(address).map_err(|error| error.to_string())?;
        let labels = parts.map(label).collect::<Result<Vec<_>, _>>();
        let labels = labels.map_err(|problem| format!("{address}: {problem}"))?;
        Ok(Self { address: address.into(), labels, security: DialerConfig::default() })
    }

    /// Reads a table: `address`, `labels`, and the names of Prometheus' HTTP client configuration. Paths are taken from a directory.
    pub(crate) fn read_table(table: &toml::Table, dir: &Path) -> Result<Self, String> {
        let mut table = table.clone();
        let Some(toml::Value::String(address)) = table.remove("address") else {
            return Err("it has no address, which is a text".into());
        };
        RemoteStore::check(&address).map_err(|error| error.to_string())?;
        let wrong = |problem: String| format!("{address}: {problem}");
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
        Ok(Self { address, labels, security })
    }

    /// Makes it ready to be asked. Reads the files that are named.
    pub(crate) fn open(self, limits: &RemoteLimits) -> Result<RemoteStore, String> {
        let Self { address, labels, security } = self;
        let labels =
            once_each(labels).map_err(|name| format!("{address}: the label {name} is given twice"))?;
        let remote = RemoteStore::secured(&address, labels, limits.clone(), security);
        let remote = remote.map_err(|error| error.to_string())?;
        if remote.security().exposes_secret() {
            eprintln!(
                "warning: {address} is sent a secret that everybody on the way can read: there is https://"
            );
        }
        if remote.security().skips_verify() {
            eprintln!("warning: {address} may be anybody: insecure_skip_verify is set");
        }
        Ok(remote)
    }
}

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
