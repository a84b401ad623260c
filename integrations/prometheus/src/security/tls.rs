//! What both sides of TLS need: the cryptography, versions, certificates and keys out of files.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};

use super::fields::{ConfigError, ConfigProblem, Fields};
use super::files::Files;

pub(super) fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// Takes `min_version` and `max_version`. What Prometheus has by default is what there is: 1.2 and 1.3.
pub(super) fn versions(fields: &mut Fields) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
    let mut version = |field, default| {
        Ok(match fields.text(field)?.as_deref() {
            None => default,
            Some("TLS12") => 0,
            Some("TLS13") => 1,
            Some("TLS10" | "TLS11") => {
                return Err(fields.error(field, ConfigProblem::Unsupported("TLS 1.0 and 1.1 are broken")));
            }
            Some(_) => {
                return Err(fields.error(field, ConfigProblem::Value("TLS12 or TLS13".into())));
            }
        })
    };
    let (min, max) = (version("min_version", 0)?, version("max_version", 1)?);
    let all = [&TLS12, &TLS13];
    match all.get(min..=max) {
        Some(versions) if !versions.is_empty() => Ok(versions.to_vec()),
        _ => Err(fields.error("min_version", ConfigProblem::Value("no later than max_version".into()))),
    }
}

/// Reads certificates, the first of which is the server's or client's own.
pub(super) fn certificates(
    files: &mut Files,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConfigProblem> {
    let text = files.read(path)?;
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    // What is wrong with it is not said: the text may be a key.
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| content(path, "certificate in PEM"))
}

pub(super) fn key(files: &mut Files, path: &Path) -> Result<PrivateKeyDer<'static>, ConfigProblem> {
    let text = files.read(path)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| content(path, "private key in PEM"))
}

/// Reads the certificates of those who vouch for others.
pub(super) fn roots(files: &mut Files, path: &Path) -> Result<Arc<RootCertStore>, ConfigProblem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(files, path)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

fn content(path: &Path, what: &'static str) -> ConfigProblem {
    ConfigProblem::Content { path: path.into(), what }
}
