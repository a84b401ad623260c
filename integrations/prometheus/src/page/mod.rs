//! A page that shows what a gateway does, for people.
//!
//! It is made here once, as HTML, so that it can be read without a script. The script asks for the same state as JSON and changes
//! what is on the page. Neither knows what a gateway is: `sections` says which part of the state is in which cell.
//!
//! All that comes from outside is escaped here, and is text and never markup in the script. Nothing is loaded from elsewhere, and the
//! browser is told so.

mod html;
mod sections;
mod value;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};

use crate::status::Status;

/// What the page is made of.
pub(crate) const PATHS: [&str; 4] = ["/", "/page.css", "/page.js", "/api/v1/status/gateway"];

/// Returns what there is at one of [`PATHS`]. The state is asked for only where it is needed.
pub(crate) fn get(path: &str, status: impl FnOnce() -> Status) -> Response<Bytes> {
    let (kind, body) = match path {
        "/page.css" => ("text/css; charset=utf-8", Bytes::from_static(include_bytes!("page.css"))),
        "/page.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page.js"))),
        // It has no map with keys that are no text, and no number that is none: it can be written.
        "/api/v1/status/gateway" => {
            ("application/json", serde_json::to_string(&status()).unwrap_or_default().into())
        }
        _ => ("text/html; charset=utf-8", html::page(&status()).into()),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // The state is that of the moment, and the rest may be another with the next version.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a browser may do for the page: load its own style and script, and ask its own server. No page may have it in a frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
