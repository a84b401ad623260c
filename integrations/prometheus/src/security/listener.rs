use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rustls::crypto::{CryptoProvider, ring as crypto};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ProtocolVersion, ServerConfig};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::fields::{ConfigError, ConfigProblem, Fields};
use super::files::{Files, MadeOfFiles};
use super::passwords::{AuthError, Users};
use super::stream::Secured;
use super::tls;

/// Which protocol is spoken on a connection, for who asks for it by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, as gRPC has it.
    Http2,
}

impl Protocol {
    pub(super) fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".into()],
            Self::Http2 => vec![b"h2".into()],
        }
    }
}

/// What a listener asks of those who connect.
///
/// It is configured by a file in the format of Prometheus' web configuration:
///
/// | field | |
/// |---|---|
/// | `tls_server_config.cert_file`, `key_file` | the certificate, with those that vouch for it behind it, and its key; PEM |
/// | `tls_server_config.client_auth_type` | `NoClientCert` (default), `VerifyClientCertIfGiven`, `RequireAndVerifyClientCert` |
/// | `tls_server_config.client_ca_file` | who vouches for clients; PEM |
/// | `tls_server_config.min_version`, `max_version` | `TLS12` (default of the first), `TLS13` (default of the second) |
/// | `tls_server_config.cipher_suites` | for TLS 1.2, by the names that Go has; default: all that there are |
/// | `tls_server_config.prefer_server_cipher_suites` | whether the order of the server counts; default: true |
/// | `tls_server_config.curve_preferences` | `X25519`, `CurveP256`, `CurveP384`; default: all |
/// | `http_server_config.http2` | taken, and changes nothing: each listener speaks one protocol |
/// | `http_server_config.headers` | headers of all answers, of those that Prometheus knows |
/// | `basic_auth_users` | names of users and hashes of their passwords by bcrypt, of a cost of 16 or less |
///
/// Paths are taken from the directory of the file. What else there is in Prometheus is refused by name; so is what is in neither.
#[derive(Debug)]
pub struct ListenerSecurity {
    path: Option<PathBuf>,
    state: MadeOfFiles<State>,
}

/// The same for each protocol, which who connects is offered.
struct Tls {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl Tls {
    fn new(config: &ServerConfig) -> Self {
        let of = |protocol: Protocol| {
            let mut config = config.clone();
            config.alpn_protocols = protocol.alpn();
            Arc::new(config)
        };
        Self { http1: of(Protocol::Http1), http2: of(Protocol::Http2) }
    }

    fn of(&self, protocol: Protocol) -> Arc<ServerConfig> {
        Arc::clone(match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        })
    }
}

#[derive(Default)]
struct State {
    tls: Option<Tls>,
    asks_for_certificates: bool,
    users: Option<Users>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// How long a client has to agree on TLS.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

impl ListenerSecurity {
    /// Lets everybody in, in the clear.
    #[must_use]
    pub fn none() -> Self {
        let state = MadeOfFiles::new(State::default(), Files::default());
        Self { path: None, state }
    }

    /// Reads a web configuration, and the files that it names. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a file cannot be read, or has what is not known, is wrong or cannot be done.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut files = Files::default();
        let state = State::load(path, &mut files)?;
        Ok(Self { path: Some(path.into()), state: MadeOfFiles::new(state, files) })
    }

    /// Reads the files again if one of them has changed, and returns whether one has. Connections that there are go on. Blocks the
    /// thread.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); then all stays as it was.
    pub fn refresh(&self) -> Result<bool, ConfigError> {
        let Some(path) = &self.path else { return Ok(false) };
        self.state.refresh(|files| State::load(path, files))
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.state.get().tls.is_some()
    }

    /// Whether everybody has to show who they are: by a password, or by a certificate.
    #[must_use]
    pub fn asks_who(&self) -> bool {
        let state = self.state.get();
        state.users.is_some() || state.asks_for_certificates
    }

    /// Whether there are passwords.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.state.get().users.is_some()
    }

    /// Agrees with a client on TLS, if there is to be some, and on the protocol that is spoken by it.
    ///
    /// # Errors
    ///
    /// If that fails, because of a certificate, say, or takes longer than 10 s. The client has been told why.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it closes the connection.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        protocol: Protocol,
    ) -> io::Result<Secured<S>> {
        let config = self.state.get().tls.as_ref().map(|tls| tls.of(protocol));
        let Some(config) = config else { return Ok(Secured::Plain(stream)) };
        match timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream)).await {
            Ok(accepted) => Ok(Secured::Tls(Box::new(accepted?.into()))),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("TLS was not agreed on within {HANDSHAKE_TIME:?}, which is the limit"),
            )),
        }
    }

    /// Checks the password that a request has, if there are some. The address is that of the client: addresses take turns.
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    pub async fn authenticate(&self, headers: &HeaderMap, address: IpAddr) -> Result<(), AuthError> {
        let state = self.state.get();
        match &state.users {
            Some(users) => users.check(headers, address).await,
            None => Ok(()),
        }
    }

    /// Puts the headers that were configured for answers into one.
    pub fn put_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.state.get().headers {
            headers.insert(name, value.clone());
        }
    }
}

impl State {
    fn load(path: &Path, files: &mut Files) -> Result<Self, ConfigError> {
        let text = files.read(path).map_err(|problem| ConfigError::new("the file", problem))?;
        let value: Value = if text.trim().is_empty() {
            Value::Null
        } else {
            // What it says besides has the line in it, and that may be a hash.
            serde_saphyr::from_str(&text).map_err(|error| {
                let line = error.location().map(|location| location.line());
                ConfigError::new("the file", ConfigProblem::Syntax { format: "YAML", line })
            })?
        };
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut fields = Fields::new("", value)?;
        fields.refuse(&[("rate_limit", "the limits of the gateway are options of it")])?;
        let mut state = Self::default();
        if let Some(fields) = fields.table("tls_server_config")? {
            state.read_tls(fields, dir, files)?;
        }
        if let Some(fields) = fields.table("http_server_config")? {
            state.read_http(fields)?;
        }
        if let Some(fields) = fields.table("basic_auth_users")? {
            state.users = Users::read(fields)?;
        }
        fields.end()?;
        Ok(state)
    }

    fn read_tls(&mut self, mut fields: Fields, dir: &Path, files: &mut Files) -> Result<(), ConfigError> {
        const INLINE: &str = "it has to be in a file, by the name with _file";
        fields.refuse(&[
            ("cert", INLINE),
            ("key", INLINE),
            ("client_ca", INLINE),
            ("client_allowed_sans", "the certificate of a client counts by who vouches for it"),
        ])?;
        let versions = tls::versions(&mut fields)?;
        let provider = provider(&mut fields)?;
        let prefers_own = fields.flag("prefer_server_cipher_suites")?.unwrap_or(true);
        let kind = fields.text("client_auth_type")?;
        let client_ca = fields.text("client_ca_file")?;
        let cert = fields.text("cert_file")?.ok_or_else(|| fields.error("cert_file", MISSING))?;
        let key = fields.text("key_file")?.ok_or_else(|| fields.error("key_file", MISSING))?;
        let verifier = match kind.as_deref() {
            None | Some("" | "NoClientCert") if client_ca.is_some() => {
                return Err(fields.error("client_ca_file", ConfigProblem::Takes("client_auth_type")));
            }
            None | Some("" | "NoClientCert") => WebPkiClientVerifier::no_client_auth(),
            Some(kind @ ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert")) => {
                let Some(path) = &client_ca else {
                    return Err(fields.error("client_auth_type", ConfigProblem::Takes("client_ca_file")));
                };
                self.asks_for_certificates = kind == "RequireAndVerifyClientCert";
                verifier(files, &dir.join(path), &provider, self.asks_for_certificates)
                    .map_err(|problem| fields.error("client_ca_file", problem))?
            }
            Some("RequestClientCert" | "RequireAnyClientCert") => {
                return Err(fields.error(
                    "client_auth_type",
                    ConfigProblem::Unsupported("a certificate that nobody verifies says nothing"),
                ));
            }
            Some(_) => {
                return Err(fields.error(
                    "client_auth_type",
                    ConfigProblem::Value(
                        "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert".into(),
                    ),
                ));
            }
        };
        let chain = tls::certificates(files, &dir.join(cert))
            .map_err(|problem| fields.error("cert_file", problem))?;
        let key = tls::key(files, &dir.join(key)).map_err(|problem| fields.error("key_file", problem))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| fields.error("cipher_suites", error.into()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| fields.error("key_file", error.into()))?;
        config.ignore_client_order = prefers_own;
        self.tls = Some(Tls::new(&config));
        fields.end()
    }

    fn read_http(&mut self, mut fields: Fields) -> Result<(), ConfigError> {
        const KNOWN: [&str; 5] = [
            "Content-Security-Policy",
            "Strict-Transport-Security",
            "X-Content-Type-Options",
            "X-Frame-Options",
            "X-XSS-Protection",
        ];
        fields.flag("http2")?;
        if let Some(headers) = fields.table("headers")? {
            let name_of = |field: &str| format!("http_server_config.headers.{field}");
            for (field, text) in headers.pairs()? {
                let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(&field));
                let known = known.ok_or_else(|| ConfigError::new(name_of(&field), ConfigProblem::Unknown))?;
                let wrong = || ConfigProblem::Value("the value of a header".into());
                let value = HeaderValue::from_str(&text);
                let value = value.map_err(|_| ConfigError::new(name_of(&field), wrong()))?;
                let name = HeaderName::from_bytes(known.as_bytes());
                let name = name.map_err(|_| ConfigError::new(name_of(&field), wrong()))?;
                self.headers.push((name, value));
            }
        }
        fields.end()
    }
}

const MISSING: ConfigProblem = ConfigProblem::Type("the path of a file");

fn verifier(
    files: &mut Files,
    path: &Path,
    provider: &Arc<CryptoProvider>,
    is_required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, ConfigProblem> {
    let roots = tls::roots(files, path)?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder
        .build()
        .map_err(|_| ConfigProblem::Content { path: path.into(), what: "certificate of an authority" })
}

/// Takes `cipher_suites` and `curve_preferences`.
fn provider(fields: &mut Fields) -> Result<Arc<CryptoProvider>, ConfigError> {
    let mut provider = tls::provider();
    if let Some(names) = fields.texts("cipher_suites")?.filter(|names| !names.is_empty()) {
        // As with Go, those of TLS 1.3 cannot be chosen.
        let (fixed, chosen): (Vec<_>, Vec<_>) = provider
            .cipher_suites
            .iter()
            .partition(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        provider.cipher_suites = fixed;
        for wanted in names {
            let Some(suite) = chosen.iter().find(|suite| name(suite) == wanted) else {
                let all: Vec<_> = chosen.iter().map(name).collect();
                let known = format!("some of {}", all.join(", "));
                return Err(fields.error("cipher_suites", ConfigProblem::Value(known)));
            };
            provider.cipher_suites.push(*suite);
        }
    }
    if let Some(names) = fields.texts("curve_preferences")?.filter(|names| !names.is_empty()) {
        provider.kx_groups = names
            .iter()
            .map(|name| match name.as_str() {
                "X25519" => Some(crypto::kx_group::X25519),
                "CurveP256" => Some(crypto::kx_group::SECP256R1),
                "CurveP384" => Some(crypto::kx_group::SECP384R1),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| {
                let known = "some of X25519, CurveP256, CurveP384".into();
                fields.error("curve_preferences", ConfigProblem::Value(known))
            })?;
    }
    Ok(Arc::new(provider))
}

/// Nothing of keys.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("is_encrypted", &self.tls.is_some())
            .field("asks_for_certificates", &self.asks_for_certificates)
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}
