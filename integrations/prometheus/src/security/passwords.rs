//! Checking passwords against hashes of bcrypt, which are made to be slow: so slow that somebody who sends wrong ones could keep all
//! processors busy.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::fields::{ConfigError, ConfigProblem, Fields};
use super::secret::Secret;
use crate::fair_queue::FairQueue;

/// Why a request is refused before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// It does not say who asks, or a password is wrong. It is not said which.
    #[error("unauthorized: a user's name and password are needed")]
    Unauthorized,
    /// So many passwords are being checked that it had no turn in time.
    #[error("the password could not be checked within {PATIENCE:?}: too many others are being checked")]
    Busy,
}

/// How long a password waits to be checked.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many passwords are checked at once: one processor is enough for that.
const CHECKED_AT_ONCE: usize = 1;
/// The slowest hash, which takes a processor some seconds.
const MAX_COST: u32 = 16;
const SECTION: &str = "basic_auth_users";

/// Users, and hashes of their passwords.
///
/// A password that was right is known again by a keyed digest, as Prometheus does, too: who has been let in once does not wait behind
/// those who guess. Addresses take turns, however much each of them guesses.
pub(super) struct Users {
    hashes: BTreeMap<String, Secret>,
    key: hmac::Key,
    /// The digests of passwords that were right.
    known: Mutex<HashMap<String, hmac::Tag>>,
    queue: FairQueue,
}

impl Users {
    /// Reads `basic_auth_users`. `None` if there are none.
    pub(super) fn read(fields: Fields) -> Result<Option<Self>, ConfigError> {
        let mut hashes = BTreeMap::new();
        for (user, hash) in fields.pairs()? {
            let error =
                |what: &str| ConfigError::new(format!("{SECTION}.{user}"), ConfigProblem::Value(what.into()));
            let cost = cost(&hash).ok_or_else(|| error("a hash of bcrypt, as of `htpasswd -nBC 10 ''`"))?;
            if cost > MAX_COST {
                return Err(error(&format!("a hash of bcrypt of a cost of {MAX_COST} or less")));
            }
            if user.contains(':') {
                return Err(error("of a user without a colon in the name"));
            }
            hashes.insert(user, Secret::new(&hash));
        }
        if hashes.is_empty() {
            return Ok(None);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| {
            ConfigError::new(SECTION, ConfigProblem::Unsupported("the system has no random numbers"))
        })?;
        Ok(Some(Self { hashes, key, known: Mutex::default(), queue: FairQueue::new(CHECKED_AT_ONCE) }))
    }

    /// Checks who sends a request.
    pub(super) async fn check(&self, headers: &HeaderMap, address: IpAddr) -> Result<(), AuthError> {
        let (user, password) = credentials(headers).ok_or(AuthError::Unauthorized)?;
        let digest = self.digest(&user, &password);
        // Where two digests begin to differ tells nothing of the password to who has not the key.
        let is_known = lock(&self.known).get(&user).is_some_and(|known| known.as_ref() == digest.as_ref());
        if is_known {
            return Ok(());
        }
        let turn = timeout(PATIENCE, self.queue.turn(address)).await.map_err(|_| AuthError::Busy)?;
        // For a user that is not there, the hash of another one: so it takes as long.
        let hash = self.hashes.get(&user).or_else(|| self.hashes.values().next()).cloned();
        let is_user = self.hashes.contains_key(&user);
        let checking = spawn_blocking(move || {
            // Whether who waits for it goes away or not.
            let _turn = turn;
            hash.is_some_and(|hash| bcrypt::verify(password.expose(), hash.expose()).unwrap_or(false))
        });
        if checking.await.unwrap_or(false) && is_user {
            lock(&self.known).insert(user, digest);
            Ok(())
        } else {
            Err(AuthError::Unauthorized)
        }
    }

    fn digest(&self, user: &str, password: &Secret) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // No user has a colon in the name.
        for part in [user, ":", password.expose()] {
            context.update(part.as_bytes());
        }
        context.sign()
    }
}

/// The user and the password of a request.
fn credentials(headers: &HeaderMap) -> Option<(String, Secret)> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (only, None) = (all.next()?, all.next()) else { return None };
    let (scheme, encoded) = only.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.into(), Secret::new(password)))
}

/// The cost of a hash, if it is one.
fn cost(hash: &str) -> Option<u32> {
    let mut parts = hash.strip_prefix("$2")?.split('$');
    let (version, cost, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = matches!(version, "a" | "b" | "x" | "y")
        && parts.next().is_none()
        && rest.len() == 53
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    let cost = cost.parse().ok().filter(|_| cost.len() == 2)?;
    (is_whole && cost >= 4).then_some(cost)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names only.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.hashes.keys()).finish()
    }
}
