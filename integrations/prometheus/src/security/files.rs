use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::fields::{ConfigError, ConfigProblem};

/// The files that something was made of, by which changes of them are seen: their lengths, and when they were changed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Files(Vec<(PathBuf, Option<(u64, SystemTime)>)>);

impl Files {
    /// Notes a file, before it is read.
    pub(super) fn note(&mut self, path: &Path) {
        self.0.push((path.into(), Self::print(path)));
    }

    fn print(path: &Path) -> Option<(u64, SystemTime)> {
        let meta = fs::metadata(path).ok()?;
        Some((meta.len(), meta.modified().ok()?))
    }

    fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, print)| Self::print(path) != *print)
    }

    pub(super) fn read(&mut self, path: &Path) -> Result<String, ConfigProblem> {
        self.note(path);
        fs::read_to_string(path).map_err(|error| ConfigProblem::File { path: path.into(), error })
    }
}

/// What is made of files, and made anew when they have changed.
#[derive(Debug)]
pub(super) struct MadeOfFiles<T>(Mutex<(Files, Arc<T>)>);

impl<T> MadeOfFiles<T> {
    pub(super) fn new(made: T, files: Files) -> Self {
        Self(Mutex::new((files, Arc::new(made))))
    }

    pub(super) fn get(&self) -> Arc<T> {
        // Nothing panics under the lock.
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Makes it anew if a file has changed, and returns whether one has. If that fails, it stays as it is.
    pub(super) fn refresh(
        &self,
        make: impl FnOnce(&mut Files) -> Result<T, ConfigError>,
    ) -> Result<bool, ConfigError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        if !known.have_changed() {
            return Ok(false);
        }
        let mut files = Files::default();
        let anew = Arc::new(make(&mut files)?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (files, anew);
        Ok(true)
    }
}
