//! Where a store's data comes from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::AsyncRead;

/// A file or standard input, by name; not open.
#[derive(Debug)]
pub(crate) struct Input {
    name: String,
    /// `None` is standard input.
    path: Option<PathBuf>,
}

impl Input {
    /// The directory of the shipped scrapes, relative to the repository.
    pub(crate) const SHIPPED: &str = "examples/data";

    pub(crate) fn stdin() -> Self {
        Self { name: "stdin".into(), path: None }
    }

    pub(crate) fn file(path: PathBuf) -> Self {
        Self { name: path.display().to_string(), path: Some(path) }
    }

    /// Lists the shipped scrapes by name. They are found from any directory.
    pub(crate) fn shipped() -> io::Result<Vec<Self>> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let repository = package.parent().unwrap_or(package);
        let mut inputs = Vec::new();
        for entry in fs::read_dir(repository.join(Self::SHIPPED))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "prom") {
                let name = path.strip_prefix(repository).unwrap_or(&path).display().to_string();
                inputs.push(Self { name, path: Some(path) });
            }
        }
        inputs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(inputs)
    }

    /// What the input is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn open(&self) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Ok(match &self.path {
            None => Box::new(tokio::io::stdin()),
            Some(path) => Box::new(File::open(path).await?),
        })
    }
}
