//! Reading tables of a configuration. By hand, since what serde says of a value that is wrong has the value in it, which may be a secret.

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The field, as `tls_config.ca_file`, or the file.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub problem: ConfigProblem,
}

/// What is wrong with a field of a configuration. The value is never in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// There is no such field.
    #[error("there is no such field")]
    Unknown,
    /// Prometheus has it, and it cannot be done here.
    #[error("it is not supported: {0}")]
    Unsupported(&'static str),
    /// It is of another type.
    #[error("it has to be {0}")]
    Type(&'static str),
    /// It has a value that it cannot have.
    #[error("it has to be {0}")]
    Value(String),
    /// It takes another field that is not there.
    #[error("it takes {0}, too")]
    Takes(&'static str),
    /// It cannot be together with another field.
    #[error("it cannot be given together with {0}")]
    Conflict(&'static str),
    /// The text of the configuration is wrong.
    #[error("it is not {format}{}", .line.map_or_else(String::new, |line| format!(": line {line}")))]
    Syntax {
        /// What it should be.
        format: &'static str,
        /// Where it is wrong.
        line: Option<u64>,
    },
    /// A file cannot be read.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file has not what it should have.
    #[error("{} has no {what} that can be used", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
    },
    /// TLS cannot be done with it.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

impl ConfigError {
    pub(crate) fn new(name: impl Into<String>, problem: ConfigProblem) -> Self {
        Self { name: name.into(), problem }
    }
}

/// A table, of which fields are taken one by one. What is left in the end is unknown.
#[derive(Default)]
pub(crate) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(crate) fn new(path: &str, value: Value) -> Result<Self, ConfigError> {
        match value {
            Value::Object(map) => Ok(Self { path: path.into(), map }),
            // A name with nothing behind it.
            Value::Null => Ok(Self { path: path.into(), map: Map::new() }),
            _ => Err(ConfigError::new(path, ConfigProblem::Type("a table"))),
        }
    }

    /// The whole name of a field.
    pub(crate) fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.into() } else { format!("{}.{field}", self.path) }
    }

    pub(crate) fn error(&self, field: &str, problem: ConfigProblem) -> ConfigError {
        ConfigError::new(self.name(field), problem)
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, ConfigError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(field, ConfigProblem::Type("text"))),
        }
    }

    pub(crate) fn flag(&mut self, field: &str) -> Result<Option<bool>, ConfigError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.error(field, ConfigProblem::Type("true or false"))),
        }
    }

    pub(crate) fn texts(&mut self, field: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let wrong = ConfigProblem::Type("a list of texts");
        let Some(value) = self.take(field) else { return Ok(None) };
        let Value::Array(values) = value else { return Err(self.error(field, wrong)) };
        let texts = values.into_iter().map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        texts.collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| self.error(field, wrong))
    }

    pub(crate) fn table(&mut self, field: &str) -> Result<Option<Self>, ConfigError> {
        let name = self.name(field);
        self.take(field).map(|value| Self::new(&name, value)).transpose()
    }

    /// All that is left, as names and texts.
    pub(crate) fn pairs(mut self) -> Result<Vec<(String, String)>, ConfigError> {
        let names: Vec<String> = self.map.keys().cloned().collect();
        let mut pairs = Vec::with_capacity(names.len());
        for name in names {
            let text = self.text(&name)?;
            pairs.push((name, text.unwrap_or_default()));
        }
        Ok(pairs)
    }

    /// Refuses fields that Prometheus has.
    pub(crate) fn refuse(&self, fields: &[(&str, &'static str)]) -> Result<(), ConfigError> {
        match fields.iter().find(|(field, _)| self.map.contains_key(*field)) {
            None => Ok(()),
            Some((field, why)) => Err(self.error(field, ConfigProblem::Unsupported(why))),
        }
    }

    /// Refuses what is left.
    pub(crate) fn end(self) -> Result<(), ConfigError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(field) => Err(self.error(field, ConfigProblem::Unknown)),
        }
    }
}
