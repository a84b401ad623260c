//! Who may connect, who is asked who they are, and what is sent in the clear: TLS, passwords and certificates.
//!
//! | type | |
//! |---|---|
//! | [`ListenerSecurity`] | what a listener asks of those who connect: TLS, certificates of clients, passwords |
//! | [`DialerSecurity`] | how another server is asked: TLS, and who asks it |
//! | [`Secured`] | a connection, with TLS or without |
//! | [`Secret`] | text that nobody prints |
//!
//! A listener is configured by a file in the format and with the names of Prometheus'
//! [web configuration](https://prometheus.io/docs/prometheus/latest/configuration/https/), a server that is asked by the names of its
//! [HTTP client configuration](https://prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config). A name that is not
//! known is refused, and so is what cannot be done here. An error names the field and never its value, which may be a secret.

mod dialer;
mod fields;
mod files;
mod listener;
mod passwords;
mod secret;
mod stream;
mod tls;

pub(crate) use dialer::MAX_SECRET_BYTES;
pub use dialer::{DialerConfig, DialerSecurity};
pub use fields::{ConfigError, ConfigProblem};
pub use listener::{ListenerSecurity, Protocol};
pub use passwords::AuthError;
pub use secret::Secret;
pub use stream::Secured;
