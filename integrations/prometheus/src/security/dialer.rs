use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::fields::{ConfigError, ConfigProblem, Fields};
use super::files::{Files, MadeOfFiles};
use super::listener::Protocol;
use super::secret::Secret;
use super::stream::Secured;
use super::tls;

/// How another server is asked, as it is configured, by the names of Prometheus' HTTP client configuration:
///
/// | field | |
/// |---|---|
/// | `basic_auth.username`, `password` or `password_file` | a user and a password |
/// | `authorization.type`, `credentials` or `credentials_file` | a token; the type is `Bearer` by default |
/// | `tls_config.ca_file` | who vouches for the server; default: the certificates of the system |
/// | `tls_config.cert_file`, `key_file` | a certificate to show, and its key |
/// | `tls_config.server_name` | the name that the server's certificate has; default: that of the address |
/// | `tls_config.insecure_skip_verify` | whether it may be anybody; default: false |
/// | `tls_config.min_version`, `max_version` | `TLS12` (default of the first), `TLS13` (default of the second) |
///
/// What else there is in Prometheus is refused by name; so is what is in neither.
#[derive(Debug, Clone, Default)]
pub struct DialerConfig {
    auth: Option<(Scheme, Given)>,
    tls: Option<TlsFields>,
}

#[derive(Debug, Clone)]
enum Scheme {
    Basic { user: String },
    Other { name: String },
}

/// A field that has a secret, or names the file that has it.
#[derive(Debug, Clone)]
struct Given {
    field: String,
    secret: Result<Secret, PathBuf>,
}

#[derive(Debug, Clone)]
struct TlsFields {
    versions: Vec<&'static SupportedProtocolVersion>,
    ca_file: Option<PathBuf>,
    cert_and_key: Option<(PathBuf, PathBuf)>,
    server_name: Option<ServerName<'static>>,
    skips_verify: bool,
}

/// The longest secret, as it is sent.
pub(crate) const MAX_SECRET_BYTES: usize = 16 << 10;

impl DialerConfig {
    /// Reads the fields of a table, and leaves no other. Paths are taken from a directory. Reads no files.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if something is not known, is wrong or cannot be done.
    pub fn read(table: serde_json::Map<String, Value>, dir: &Path) -> Result<Self, ConfigError> {
        const TOKEN: &str = "it is authorization.credentials, or credentials_file, now";
        let mut fields = Fields::new("", Value::Object(table))?;
        fields.refuse(&[
            ("bearer_token", TOKEN),
            ("bearer_token_file", TOKEN),
            ("oauth2", "there is no OAuth here"),
            ("sigv4", "there is no signing here"),
            ("azuread", "there is no signing here"),
            ("proxy_url", "servers are asked without a proxy"),
            ("proxy_from_environment", "servers are asked without a proxy"),
            ("no_proxy", "servers are asked without a proxy"),
            ("proxy_connect_header", "servers are asked without a proxy"),
            ("follow_redirects", "redirections are not followed"),
            ("enable_http2", "each store is asked by one protocol"),
            ("headers", "there are no headers of one's own"),
            ("http_headers", "there are no headers of one's own"),
        ])?;
        let mut config = Self::default();
        if let Some(mut basic) = fields.table("basic_auth")? {
            basic.refuse(&[
                ("username_file", "the name is no secret: it is username"),
                ("username_ref", "there is no manager of secrets here"),
                ("password_ref", "there is no manager of secrets here"),
            ])?;
            let user = basic.text("username")?.unwrap_or_default();
            if user.contains(':') {
                return Err(basic.error("username", ConfigProblem::Value("without a colon".into())));
            }
            let given = Given::read(&mut basic, "password", ("password_file", dir))?;
            config.auth = Some((Scheme::Basic { user }, given));
            basic.end()?;
        }
        if let Some(mut other) = fields.table("authorization")? {
            if config.auth.is_some() {
                return Err(ConfigError::new("authorization", ConfigProblem::Conflict("basic_auth")));
            }
            other.refuse(&[("credentials_ref", "there is no manager of secrets here")])?;
            let name = other.text("type")?.unwrap_or_else(|| "Bearer".into());
            let is_token =
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
            if name.is_empty() || !is_token || name.eq_ignore_ascii_case("basic") {
                let wrong = "a scheme as Bearer is; for Basic there is basic_auth".into();
                return Err(other.error("type", ConfigProblem::Value(wrong)));
            }
            let given = Given::read(&mut other, "credentials", ("credentials_file", dir))?;
            config.auth = Some((Scheme::Other { name }, given));
            other.end()?;
        }
        if let Some(tls) = fields.table("tls_config")? {
            config.tls = Some(TlsFields::read(tls, dir)?);
        }
        fields.end()?;
        Ok(config)
    }

    /// What is sent, and the secret in it.
    fn authorization(&self, files: &mut Files) -> Result<Option<(HeaderValue, Secret)>, ConfigError> {
        let Some((scheme, given)) = &self.auth else { return Ok(None) };
        let Given { field, secret } = given;
        let secret = match secret {
            Ok(secret) => secret.clone(),
            Err(path) => {
                let text = files.read(path).map_err(|problem| ConfigError::new(field, problem))?;
                Secret::new(text.trim())
            }
        };
        let text = match scheme {
            Scheme::Basic { user } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", secret.expose())))
            }
            Scheme::Other { name } => format!("{name} {}", secret.expose()),
        };
        let value = HeaderValue::from_str(&text).ok().filter(|value| value.len() <= MAX_SECRET_BYTES);
        let mut value = value.ok_or_else(|| {
            let wrong = format!("a line of text, of {MAX_SECRET_BYTES} bytes at most");
            ConfigError::new(field, ConfigProblem::Value(wrong))
        })?;
        value.set_sensitive(true);
        Ok(Some((value, secret)))
    }
}

impl Given {
    fn read(
        fields: &mut Fields,
        here: &str,
        (file, dir): (&'static str, &Path),
    ) -> Result<Self, ConfigError> {
        match (fields.text(here)?, fields.text(file)?) {
            (Some(_), Some(_)) => Err(fields.error(here, ConfigProblem::Conflict(file))),
            (None, Some(path)) => Ok(Self { field: fields.name(file), secret: Err(dir.join(path)) }),
            (Some(text), None) => Ok(Self { field: fields.name(here), secret: Ok(Secret::new(&text)) }),
            (None, None) => Err(fields.error(here, ConfigProblem::Type("text"))),
        }
    }
}

impl TlsFields {
    fn read(mut fields: Fields, dir: &Path) -> Result<Self, ConfigError> {
        const INLINE: &str = "it has to be in a file, by the name with _file";
        fields.refuse(&[
            ("ca", INLINE),
            ("cert", INLINE),
            ("key", INLINE),
            ("ca_ref", INLINE),
            ("cert_ref", INLINE),
            ("key_ref", INLINE),
        ])?;
        let versions = tls::versions(&mut fields)?;
        let mut path = |field| fields.text(field).map(|text| text.map(|text| dir.join(text)));
        let (ca_file, cert, key) = (path("ca_file")?, path("cert_file")?, path("key_file")?);
        let cert_and_key = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => return Err(fields.error("cert_file", ConfigProblem::Takes("key_file"))),
            (None, Some(_)) => return Err(fields.error("key_file", ConfigProblem::Takes("cert_file"))),
        };
        let server_name = fields.text("server_name")?.filter(|name| !name.is_empty());
        let server_name = server_name.map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|_| {
            fields.error("server_name", ConfigProblem::Value("the name or the address of a host".into()))
        })?;
        let skips_verify = fields.flag("insecure_skip_verify")?.unwrap_or(false);
        fields.end()?;
        Ok(Self { versions, ca_file, cert_and_key, server_name, skips_verify })
    }

    fn config(&self, protocol: Protocol, files: &mut Files) -> Result<ClientConfig, ConfigError> {
        let error = |field: &str| {
            let name = format!("tls_config.{field}");
            move |problem| ConfigError::new(name, problem)
        };
        let provider = Arc::new(tls::provider());
        let verifier: Arc<dyn ServerCertVerifier> = if self.skips_verify {
            Arc::new(Anybody(Arc::clone(&provider)))
        } else {
            let roots = match &self.ca_file {
                Some(path) => tls::roots(files, path).map_err(error("ca_file"))?,
                None => Arc::new(of_system()),
            };
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().map_err(
                |_| {
                    let why = "the system has no certificates of authorities: say which";
                    error("ca_file")(ConfigProblem::Unsupported(why))
                },
            )?
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .map_err(|wrong| error("min_version")(wrong.into()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.cert_and_key {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = tls::certificates(files, cert).map_err(error("cert_file"))?;
                let key = tls::key(files, key).map_err(error("key_file"))?;
                builder.with_client_auth_cert(chain, key).map_err(|wrong| error("key_file")(wrong.into()))?
            }
        };
        config.alpn_protocols = protocol.alpn();
        Ok(config)
    }
}

/// Those that vouch for servers by the settings of the system.
fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Some of them may be such that cannot be used.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// How another server is asked: by TLS or in the clear, and who asks it.
#[derive(Debug)]
pub struct DialerSecurity {
    config: DialerConfig,
    is_encrypted: bool,
    protocol: Protocol,
    state: MadeOfFiles<State>,
}

#[derive(Default)]
struct State {
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<(HeaderValue, Secret)>,
}

/// How long a server has to agree on TLS.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

impl DialerSecurity {
    /// Asks in the clear, and says to nobody who asks.
    #[must_use]
    pub fn none() -> Self {
        Self {
            config: DialerConfig::default(),
            is_encrypted: false,
            protocol: Protocol::Http1,
            state: MadeOfFiles::new(State::default(), Files::default()),
        }
    }

    /// Reads the files that a configuration names. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a file cannot be read, or has not what it should have; if there is a configuration of TLS and none is to be
    /// spoken.
    pub fn new(config: DialerConfig, is_encrypted: bool, protocol: Protocol) -> Result<Self, ConfigError> {
        if config.tls.is_some() && !is_encrypted {
            return Err(ConfigError::new("tls_config", ConfigProblem::Takes("an address with https://")));
        }
        let mut files = Files::default();
        let state = State::new(&config, is_encrypted, protocol, &mut files)?;
        Ok(Self { config, is_encrypted, protocol, state: MadeOfFiles::new(state, files) })
    }

    /// Reads the files again if one of them has changed, and returns whether one has. Blocks the thread.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); then all stays as it was.
    pub fn refresh(&self) -> Result<bool, ConfigError> {
        self.state.refresh(|files| State::new(&self.config, self.is_encrypted, self.protocol, files))
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether a secret is sent that everybody on the way can read.
    #[must_use]
    pub const fn exposes_secret(&self) -> bool {
        self.config.auth.is_some() && !self.is_encrypted
    }

    /// Whether the server may be anybody.
    #[must_use]
    pub fn skips_verify(&self) -> bool {
        self.config.tls.as_ref().is_some_and(|tls| tls.skips_verify)
    }

    /// Agrees with a server on TLS, if there is to be some. The host is the one of the address.
    ///
    /// # Errors
    ///
    /// If that fails, because it has the certificate of another one, say, or takes longer than 10 s.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes the connection.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> io::Result<Secured<S>> {
        let Some(config) = self.state.get().tls.clone() else { return Ok(Secured::Plain(stream)) };
        let name = match self.config.tls.as_ref().and_then(|tls| tls.server_name.clone()) {
            Some(name) => name,
            None => ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        match timeout(HANDSHAKE_TIME, TlsConnector::from(config).connect(name, stream)).await {
            Ok(connected) => Ok(Secured::Tls(Box::new(connected?.into()))),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("TLS was not agreed on within {HANDSHAKE_TIME:?}, which is the limit"),
            )),
        }
    }

    /// Returns what says who asks, the value of the header `Authorization`. It is marked as sensitive, so that nobody prints it.
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        self.state.get().authorization.as_ref().map(|(value, _)| value.clone())
    }

    /// Returns what a server says as it can be printed: without the secret that it was sent, and without what would be more than text.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.replace(char::is_control, " ");
        let state = self.state.get();
        if let Some((value, secret)) = &state.authorization {
            let sent = value.to_str().unwrap_or_default();
            let encoded = sent.split_once(' ').map_or(sent, |(_, encoded)| encoded);
            for secret in [encoded, secret.expose()] {
                if !secret.is_empty() {
                    text = text.replace(secret, "<secret>");
                }
            }
        }
        text
    }
}

impl State {
    fn new(
        config: &DialerConfig,
        is_encrypted: bool,
        protocol: Protocol,
        files: &mut Files,
    ) -> Result<Self, ConfigError> {
        let authorization = config.authorization(files)?;
        let tls = match &config.tls {
            _ if !is_encrypted => None,
            Some(fields) => Some(fields.config(protocol, files)?),
            None => Some(TlsFields::read(Fields::default(), Path::new(""))?.config(protocol, files)?),
        };
        Ok(Self { tls: tls.map(Arc::new), authorization })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("is_encrypted", &self.tls.is_some())
            .field("is_authorized", &self.authorization.is_some())
            .finish()
    }
}

/// Takes any certificate, if the server has its key: for `insecure_skip_verify`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
