use hyper::Uri;

/// Why an address is none of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} cannot be asked: {problem}")]
#[non_exhaustive]
pub struct AddressError {
    /// The address, without what follows a question mark, which may be a secret.
    pub address: String,
    /// What is wrong with it, or with what is configured for it.
    pub problem: String,
}

/// The address of a server, taken apart.
#[derive(Debug)]
pub(crate) struct Address {
    /// As it can be printed: what follows a question mark may be a secret.
    pub(crate) name: String,
    pub(crate) is_encrypted: bool,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// With what follows a question mark.
    pub(crate) path: String,
}

impl Address {
    pub(crate) fn parse(address: &str) -> Result<Self, AddressError> {
        let name = address.split('?').next().unwrap_or_default();
        let wrong = |problem: &str| AddressError { address: name.into(), problem: problem.into() };
        // First: also one that cannot be parsed may have a password.
        if address.contains('@') {
            let problem = "it has a user's name, and would be printed: there is basic_auth for that".into();
            return Err(AddressError { address: "…".into(), problem });
        }
        let uri: Uri = address.parse().map_err(|_| wrong("it cannot be parsed"))?;
        let is_encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        // One that is none would be taken for the default.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(wrong("its port is none"));
        }
        Ok(Self {
            name: name.into(),
            is_encrypted,
            host: authority.host().into(),
            port: authority.port_u16(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).into(),
        })
    }

    pub(crate) fn wrong(&self, problem: impl Into<String>) -> AddressError {
        AddressError { address: self.name.clone(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_of_all_kinds() {
        for (address, host, port) in [
            ("http://a", "a", None),
            ("https://a:9090/api", "a", Some(9090)),
            ("http://[::1]", "[::1]", None),
            ("http://[::1]:65535/", "[::1]", Some(65535)),
            ("http://127.0.0.1:1?x=y:z", "127.0.0.1", Some(1)),
        ] {
            let parsed = Address::parse(address).map(|parsed| (parsed.host, parsed.port));
            assert_eq!(parsed, Ok((host.to_owned(), port)), "{address}");
        }
        for address in ["http://a:", "http://a:65536", "http://[::1]:x"] {
            assert!(Address::parse(address).is_err(), "{address}");
        }
    }
}
