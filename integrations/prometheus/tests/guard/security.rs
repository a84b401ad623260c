use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::ResponseType::{Samples, StreamedXorChunks};
use losertree_prometheus::security::{ConfigError, DialerConfig, DialerSecurity, ListenerSecurity, Protocol};
use rustls::version::{TLS12, TLS13};

use crate::floods::from_another_address;
use crate::support::process::{
    Gateway, Prometheus, begin, escape, listen, message, query, receive, receive_all, request, sampled,
    streamed,
};
use crate::support::*;
use crate::tls::{self, Authority};

pub(crate) const MINUTES: i64 = 130;
const BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// Secrets that nobody may print. The passwords are in bcrypt's hashes, in files and in the configuration.
pub(crate) const PASSWORD: &str = "tr0ub4dor-and-3";
const TOKEN: &str = "token-correct-horse-battery";

pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn hash(cost: u32) -> String {
    bcrypt::hash(PASSWORD, cost).unwrap()
}

/// A directory with authorities `ours` and `theirs`; a server and a client of the first, and a client of the other one.
pub(crate) fn certificates(dir: &Path) -> (Authority, Authority) {
    let (ours, theirs) = (Authority::new(dir, "ours"), Authority::new(dir, "theirs"));
    ours.certify("server", "localhost");
    ours.certify("client", "client.example");
    theirs.certify("stranger", "client.example");
    (ours, theirs)
}

pub(crate) const SERVER: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
pub(crate) const WITH_CLIENTS: &str =
    "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ours.pem\n";

pub(crate) fn users(cost: u32) -> String {
    format!("basic_auth_users:\n  alice: {}\n", hash(cost))
}

fn read_message(auth: Option<&str>) -> Vec<u8> {
    let body = request(vec![query(&[("__name__", 2, ".+")], always())], StreamedXorChunks);
    let headers: Vec<_> = auth.map(|auth| ("Authorization", auth)).into_iter().collect();
    message("POST", "/api/v1/read", &headers, &body)
}

#[test]
fn who_does_not_show_who_they_are_is_refused() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = certificates(dir.path());
    let data = make_blocks(dir.path(), &open_metrics(&scraped(100), START_MS, MINUTES));
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let config = dir.path().join("web.yml");
    let headers = "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n";
    fs::write(&config, format!("{SERVER}{WITH_CLIENTS}  min_version: TLS13\n{headers}{}", users(4))).unwrap();
    let gateway = Gateway::start(&data, &["--web-config-file", config.to_str().unwrap()]);
    let ask = |config, message: &[u8]| {
        tls::begin(config, gateway.address, message).and_then(receive_all).map(|(status, head, body)| {
            assert!(head.contains("x-frame-options: deny"), "{head}");
            (status, head, body)
        })
    };
    let known = || ours.client(Some("client"), BOTH);
    let right = basic("alice", PASSWORD);
    // Twice: the second time it is known again.
    for _ in 0..2 {
        let (status, _, body) = ask(known(), &read_message(Some(&right))).unwrap();
        assert_eq!((status, streamed(&body, 1)), (200, vec![wanted.clone()]));
    }
    let lower = right.replace("Basic", "bAsIc");
    assert_eq!(ask(known(), &read_message(Some(&lower))).unwrap().0, 200);
    let long = basic("alice", &"a".repeat(10_000));
    for auth in [
        None,
        Some(basic("alice", "wrong")),
        Some(basic("alice", "")),
        Some(basic("alice", &format!("{PASSWORD} "))),
        Some(basic("bob", PASSWORD)),
        Some(basic("", "")),
        Some(long),
        Some("Basic".into()),
        Some("Basic !".into()),
        Some(format!("Bearer {TOKEN}")),
        Some(right.replace("Basic ", "Basic")),
    ] {
        let (status, head, body) = ask(known(), &read_message(auth.as_deref())).unwrap();
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 401, "{auth:?}: {text}");
        assert!(head.contains("www-authenticate: basic"), "{head}");
        assert!(text.contains("unauthorized"), "{text}");
    }
    // Two of them: nobody knows which one counts.
    let twice = message("GET", "/-/ready", &[("Authorization", &right), ("Authorization", &right)], b"");
    assert_eq!(ask(known(), &twice).unwrap().0, 401);
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/nowhere"] {
        assert_eq!(ask(known(), &message("GET", path, &[], b"")).unwrap().0, 401, "{path}");
        let status = ask(known(), &message("GET", path, &[("Authorization", &right)], b"")).unwrap().0;
        assert!(status == 200 || (status == 404 && !path.starts_with("/-/")), "{path}: {status}");
    }
    // No certificate, one of somebody else, an old version, and no TLS at all.
    let get = message("GET", "/-/ready", &[("Authorization", &right)], b"");
    assert!(ask(ours.client(None, BOTH), &get).is_err());
    let mut stranger = theirs.client(Some("stranger"), BOTH);
    stranger.enable_sni = false;
    assert!(ask(stranger, &get).is_err());
    assert!(ask(ours.client(Some("client"), &[&TLS12]), &get).is_err());
    let plain =
        begin(gateway.address, "GET", "/-/ready", &[("Authorization", &right)], b"").and_then(receive);
    assert!(plain.is_err(), "{plain:?}");
    // And after all that.
    assert_eq!(ask(known(), &read_message(Some(&right))).unwrap().0, 200);
    gateway.wait_for("no TLS");
    gateway.assert_stops_balanced();
}

#[test]
fn a_prometheus_reads_by_tls_with_a_password_and_with_a_certificate() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let data = make_blocks(dir.path(), &open_metrics(&scraped(300), START_MS, MINUTES));
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let time = (START_MS + 100 * MINUTE_MS) / 1000;
    let queries = [
        "count({__name__=~'.+'})",
        "sum by (__name__) ({from='prometheus'})",
        "avg by (from) ({from=~'.*exporter'})",
    ];
    let answers = |prometheus: &Prometheus| {
        queries.map(|text| {
            let data = prometheus.api(&format!("/api/v1/query?query={}&time={time}", escape(text))).unwrap();
            let mut results: Vec<_> =
                data["result"].as_array().unwrap().iter().map(ToString::to_string).collect();
            results.sort();
            results
        })
    };
    let copy = process::copy_dir(&data, &dir.path().join("copy"));
    let wanted = answers(&Prometheus::start(&copy, None));
    assert!(wanted.iter().all(|answer| !answer.is_empty()));
    let tls = format!("  tls_config: {{ca_file: {}, server_name: localhost", path("ours.pem"));
    let certificate = format!(", cert_file: {}, key_file: {}", path("client.pem"), path("client.key"));
    let password = format!("  basic_auth: {{username: alice, password: {PASSWORD}}}\n");
    for (number, (web, client, is_let_in)) in [
        (format!("{SERVER}{}", users(10)), format!("{tls}}}\n{password}"), true),
        (format!("{SERVER}{WITH_CLIENTS}"), format!("{tls}{certificate}}}\n"), true),
        (format!("{SERVER}{WITH_CLIENTS}{}", users(4)), format!("{tls}{certificate}}}\n{password}"), true),
        (format!("{SERVER}{WITH_CLIENTS}"), format!("{tls}}}\n{password}"), false),
        (format!("{SERVER}{}", users(4)), format!("{tls}}}\n"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let config = path("web.yml");
        fs::write(&config, web).unwrap();
        let gateway = Gateway::start(&data, &["--web-config-file", &config]);
        let empty = dir.path().join(format!("empty{number}"));
        fs::create_dir(&empty).unwrap();
        let text = format!(
            "remote_read:\n- url: https://{}/api/v1/read\n  read_recent: true\n{client}",
            gateway.address
        );
        let prometheus = Prometheus::configured(&empty, &text);
        if is_let_in {
            assert_eq!(answers(&prometheus), wanted, "{text}");
        } else {
            let path = format!("/api/v1/query?query={}&time={time}", escape(queries[0]));
            let (status, body) = process::get(prometheus.address, &path).unwrap();
            let text = String::from_utf8_lossy(&body);
            // Prometheus gives what it has, which is nothing, and a warning; or an error.
            assert!(!text.contains(&wanted[0][0]) && text.contains("remote"), "{status}: {text}");
        }
        drop(prometheus);
        gateway.assert_stops_balanced();
    }
}

/// Runs the gateway with a configuration of stores, and returns the answer to everything.
fn ask_with(config: &Path, text: &str) -> (u16, Vec<u8>, Gateway) {
    fs::write(config, text).unwrap();
    let gateway = Gateway::start_with(&["--config", config.to_str().unwrap(), "--store-seconds", "60"]);
    let all = vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
    let (status, body) = process::read(gateway.address, all, Samples).unwrap();
    (status, body, gateway)
}

#[test]
fn a_prometheus_with_a_web_configuration_is_read() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, _) = certificates(dir.path());
    let data = make_blocks(dir.path(), &open_metrics(&scraped(200), START_MS, MINUTES));
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let web = dir.path().join("web.yml");
    fs::write(&web, format!("{SERVER}{WITH_CLIENTS}{}", users(4))).unwrap();
    let argument = format!("--web.config.file={}", web.display());
    let get = message("GET", "/-/ready", &[("Authorization", &basic("alice", PASSWORD))], b"");
    let prometheus = Prometheus::started(&data, "", &[&argument], |address| {
        let answered = tls::begin(ours.client(Some("client"), BOTH), address, &get).and_then(receive);
        answered.is_ok_and(|(status, _)| status == 200)
    });
    let address = format!("https://{}", prometheus.address);
    fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    let config = dir.path().join("gateway.toml");
    let certificate = "cert_file = 'client.pem', key_file = 'client.key'";
    let tls = format!("tls_config = {{ ca_file = 'ours.pem', server_name = 'localhost', {certificate} }}");
    let in_file = "basic_auth = { username = 'alice', password_file = 'password' }";
    let here = format!("basic_auth = {{ username = 'alice', password = '{PASSWORD}' }}");
    for auth in [in_file, &here] {
        let text =
            format!("[[store]]\naddress = '{address}'\nlabels = {{ cluster = 'eu' }}\n{tls}\n{auth}\n");
        let (status, body, gateway) = ask_with(&config, &text);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let named: Answer = wanted
            .iter()
            .map(|(labels, samples)| {
                let mut pairs: BTreeMap<_, _> = labels.iter().collect();
                pairs.insert("cluster".into(), "eu".into());
                (losertree::Labels::from_pairs(pairs).unwrap(), samples.clone())
            })
            .collect();
        assert!(sampled(&body) == [named]);
        gateway.assert_stops_balanced();
    }
    // It may be anybody, if that is said.
    let any = format!("tls_config = {{ insecure_skip_verify = true, {certificate} }}");
    let (status, body, gateway) =
        ask_with(&config, &format!("[[store]]\naddress = '{address}'\n{any}\n{in_file}\n"));
    assert!(status == 200 && sampled(&body) == [wanted], "{}", String::from_utf8_lossy(&body));
    assert!(gateway.log().iter().all(|line| !line.contains(PASSWORD)));
    gateway.assert_stops_balanced();
    let wrong = here.replace(PASSWORD, "wrong");
    let other_name = tls.replace("localhost", "other.example");
    let other_authority = tls.replace("ours.pem", "theirs.pem");
    let no_certificate = "tls_config = { ca_file = 'ours.pem', server_name = 'localhost' }";
    for (fields, part) in [
        (format!("{tls}\n{wrong}"), "401"),
        (tls.clone(), "401"),
        (format!("{other_name}\n{in_file}"), "no TLS"),
        (format!("{other_authority}\n{in_file}"), "no TLS"),
        (format!("{no_certificate}\n{in_file}"), "ertificate"),
    ] {
        let (status, body, gateway) =
            ask_with(&config, &format!("[[store]]\naddress = '{address}'\n{fields}\n"));
        let text = String::from_utf8_lossy(&body);
        assert!(
            status == 500 && text.contains(part) && text.contains(&address),
            "{fields}: {status}: {text}"
        );
        assert!(!text.contains(PASSWORD), "{text}");
        gateway.assert_stops_balanced();
    }
}

/// A store that refuses every request, and the heads of those. Who goes away without a word, as a query does that another
/// store has failed, has sent none.
fn listening() -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let (sender, heard) = std::sync::mpsc::channel();
    let address = listen(move |head, client| {
        let refusal = b"HTTP/1.1 403 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n";
        let _ = client.write_all(refusal);
        let _ = sender.send(head.to_owned());
    });
    (address, heard)
}

#[test]
fn a_token_is_sent_and_read_again_when_its_file_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    let (address, heard) = listening();
    let ask = |fields: &str| {
        let text = format!("sync-seconds = 1\nstore = [{{ address = 'http://{address}', {fields} }}]\n");
        let (status, body, gateway) = ask_with(&config, &text);
        let text = String::from_utf8_lossy(&body);
        assert!(status == 500 && text.contains("403"), "{status}: {text}");
        assert!(text.trim_end().chars().all(|character| !character.is_control()), "one line: {text:?}");
        assert!(!text.contains(TOKEN) && !text.contains(PASSWORD), "{text}");
        (heard.recv().unwrap().to_ascii_lowercase(), gateway)
    };
    fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    for (fields, wanted) in [
        (
            format!("authorization = {{ credentials = '{TOKEN}' }}"),
            format!("authorization: bearer {TOKEN}\r\n"),
        ),
        (
            format!("authorization = {{ type = 'Token', credentials = '{TOKEN}' }}"),
            format!("authorization: token {TOKEN}\r\n"),
        ),
        (format!("basic_auth = {{ username = 'a', password = '{PASSWORD}' }}"), {
            format!("authorization: {}\r\n", basic("a", PASSWORD)).to_ascii_lowercase()
        }),
    ] {
        let (head, gateway) = ask(&fields);
        assert!(head.contains(&wanted), "{head}");
        let log = gateway.log().join("\n");
        assert!(log.contains("everybody on the way") && !log.contains(TOKEN), "{log}");
        gateway.assert_stops_balanced();
    }
    let (head, gateway) = ask("authorization = { credentials_file = 'token' }");
    assert!(head.contains(&format!("authorization: bearer {TOKEN}\r\n")), "{head}");
    fs::write(dir.path().join("token"), "another-token\n").unwrap();
    let start = Instant::now();
    loop {
        let all = vec![query(&[], always())];
        process::read(gateway.address, all, Samples).unwrap();
        if heard.recv().unwrap().contains("Bearer another-token\r\n") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the new one is sent");
        thread::sleep(Duration::from_millis(200));
    }
    let log = gateway.wait_for("read again");
    assert!(!log.contains("another-token"), "{log}");
    gateway.assert_stops_balanced();
}

#[test]
fn certificates_are_renewed_while_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = certificates(dir.path());
    let (address, _heard) = listening();
    let config = dir.path().join("web.yml");
    fs::write(&config, SERVER).unwrap();
    let store = format!("http://{address}");
    let arguments = ["--store", &store, "--sync-seconds", "1", "--web-config-file", config.to_str().unwrap()];
    let gateway = Gateway::start_with(&arguments);
    let is_ready = |authority: &Authority| {
        let get = message("GET", "/-/ready", &[], b"");
        let answered = tls::begin(authority.client(None, BOTH), gateway.address, &get).and_then(receive);
        answered.is_ok_and(|(status, _)| status == 200)
    };
    let eventually = |what: &str, is_so: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(30), "{what}");
            thread::sleep(Duration::from_millis(100));
        }
    };
    assert!(is_ready(&ours) && !is_ready(&theirs));
    // One that is broken changes nothing.
    let key = fs::read_to_string(dir.path().join("server.key")).unwrap();
    fs::write(dir.path().join("server.key"), format!("{key} and something else\n").replace("BEGIN", "BEGUN"))
        .unwrap();
    let log = gateway.wait_for("stays as it was: tls_server_config.key_file");
    assert!(!log.contains(key.lines().nth(1).unwrap()));
    assert!(is_ready(&ours));
    theirs.certify("server", "localhost");
    eventually("the new one is shown", &|| is_ready(&theirs));
    assert!(!is_ready(&ours));
    gateway.assert_stops_balanced();
}

#[test]
fn those_who_guess_passwords_do_not_keep_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let (address, _heard) = listening();
    let config = dir.path().join("web.yml");
    // Slow: each takes about a fifth of a second of a processor.
    fs::write(&config, users(12)).unwrap();
    let store = format!("http://{address}");
    let gateway = Gateway::start_with(&["--store", &store, "--web-config-file", config.to_str().unwrap()]);
    let stop = AtomicBool::new(false);
    let guessed = AtomicUsize::new(0);
    let guess = || {
        while !stop.load(Ordering::Relaxed) {
            let headers = [("Authorization", &*basic("alice", "guess"))];
            // Refused, or closed while it waited.
            match begin(gateway.address, "GET", "/-/ready", &headers, b"").and_then(receive) {
                Ok((401, _)) => _ = guessed.fetch_add(1, Ordering::Relaxed),
                Ok((status, _)) => assert_eq!(status, 503),
                Err(_) => {}
            }
        }
    };
    let guesses = thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        for _ in 0..100 {
            scope.spawn(guess);
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) || guessed.load(Ordering::Relaxed) < 2 {
            assert!(start.elapsed() < Duration::from_secs(60), "guesses are answered");
            thread::sleep(Duration::from_millis(20));
        }
        // From another address: the machine has many.
        let get = message("GET", "/-/ready", &[("Authorization", &basic("alice", PASSWORD))], b"");
        let guesses = [(); 5].map(|()| {
            let before = guessed.load(Ordering::Relaxed);
            let (status, body) = receive(from_another_address(gateway.address, &get)).unwrap();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            guessed.load(Ordering::Relaxed) - before
        });
        drop(stopping);
        guesses
    });
    // A hundred are ahead, each of which takes its time, and more of it on a slow machine. It has waited for one or two of them,
    // and then for none. Some more may have had their answers already and only now count them.
    assert!(guesses.iter().all(|count| *count < 15), "{guesses:?} guesses were answered before it");
    gateway.assert_stops_balanced();
}

#[test]
fn clients_by_tls_that_are_silent_or_hardly_read_keep_nobody_out() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, _) = certificates(dir.path());
    let data = make_blocks(dir.path(), &open_metrics(&scraped(500), START_MS, MINUTES));
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let config = dir.path().join("web.yml");
    fs::write(&config, SERVER).unwrap();
    let arguments = [
        "--concurrency",
        "4",
        "--stall-seconds",
        "60",
        "--busy-stall-seconds",
        "1",
        "--max-connections",
        "50",
    ];
    let gateway =
        Gateway::start(&data, &[&arguments[..], &["--web-config-file", config.to_str().unwrap()]].concat());
    // None of them says what TLS begins with.
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    let all = || query(&[("__name__", 2, ".+")], always());
    let much = message("POST", "/api/v1/read", &[], &request(vec![all(); 64], StreamedXorChunks));
    let slow: Vec<_> =
        (0..12).map(|_| tls::begin(ours.client(None, BOTH), gateway.address, &much).unwrap()).collect();
    let start = Instant::now();
    for _ in 0..3 {
        let (status, body) = tls::begin(ours.client(None, BOTH), gateway.address, &read_message(None))
            .and_then(receive)
            .unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        assert!(streamed(&body, 1) == [wanted.clone()]);
    }
    // Each of those that hardly read may take a minute as long as nobody waits: three together.
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    gateway.wait_for("bytes of its answer within 1s, less than 65536");
    drop((silent, slow));
    gateway.assert_stops_balanced();
}

fn load(dir: &Path, text: &str) -> Result<ListenerSecurity, ConfigError> {
    let path = dir.join("web.yml");
    fs::write(&path, text).unwrap();
    ListenerSecurity::load(&path)
}

#[test]
fn what_is_wrong_in_a_web_configuration_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let hash = hash(4);
    for right in [
        "",
        "# nothing\n",
        "tls_server_config:\n",
        SERVER,
        &format!("{SERVER}{WITH_CLIENTS}"),
        &format!("{SERVER}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ours.pem\n"),
        &format!("{SERVER}  client_auth_type: NoClientCert\n"),
        &format!("{SERVER}  min_version: TLS12\n  max_version: TLS12\n"),
        &format!("{SERVER}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"),
        &format!("{SERVER}  curve_preferences: [X25519, CurveP256]\n  prefer_server_cipher_suites: false\n"),
        "http_server_config: {http2: false, headers: {x-frame-options: deny}}\n",
        &format!("basic_auth_users: {{alice: '{hash}', bob: '{hash}'}}\n"),
    ] {
        load(dir.path(), right).unwrap_or_else(|error| panic!("{right}: {error}"));
    }
    let with = |field: &str| format!("{SERVER}  {field}\n");
    for (wrong, parts) in [
        ("a: 1\n", ["a: ", "no such field"]),
        ("tls_server_config: 1\n", ["tls_server_config: ", "a table"]),
        ("tls_server_config: {key_file: server.key}\n", ["tls_server_config.cert_file", "file"]),
        ("tls_server_config: {cert_file: server.pem}\n", ["tls_server_config.key_file", "file"]),
        ("tls_server_config: {cert_file: [server.pem]}\n", ["tls_server_config.cert_file", "text"]),
        (
            "tls_server_config: {cert_file: no.pem, key_file: server.key}\n",
            ["cert_file", "no.pem: No such file"],
        ),
        (
            "tls_server_config: {cert_file: server.key, key_file: server.key}\n",
            ["cert_file", "no certificate"],
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: server.pem}\n",
            ["key_file", "no private key"],
        ),
        ("tls_server_config: {cert_file: server.pem, key_file: client.key}\n", ["key_file", "keys"]),
        (&with("cert: inline"), ["tls_server_config.cert", "in a file"]),
        (&with("client_allowed_sans: [a]"), ["client_allowed_sans", "not supported"]),
        (&with("client_ca_file: ours.pem"), ["client_ca_file", "client_auth_type"]),
        (&with("client_auth_type: RequireAndVerifyClientCert"), ["client_auth_type", "client_ca_file"]),
        (&with("client_auth_type: RequireAnyClientCert"), ["client_auth_type", "not supported"]),
        (&with("client_auth_type: RequestClientCert"), ["client_auth_type", "not supported"]),
        (&with("client_auth_type: Nonsense"), ["client_auth_type", "VerifyClientCertIfGiven"]),
        (&with("min_version: TLS10"), ["min_version", "not supported"]),
        (&with("min_version: TLS14"), ["min_version", "TLS12 or TLS13"]),
        (&with("min_version: TLS13\n  max_version: TLS12"), ["min_version", "max_version"]),
        (&with("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"), ["cipher_suites", "TLS_ECDHE"]),
        (&with("curve_preferences: [CurveP521]"), ["curve_preferences", "CurveP256"]),
        (&with("prefer_server_cipher_suites: 1"), ["prefer_server_cipher_suites", "true or false"]),
        ("http_server_config: {headers: {X-Other: a}}\n", ["headers.X-Other", "no such field"]),
        ("http_server_config: {http3: true}\n", ["http_server_config.http3", "no such field"]),
        ("rate_limit: {burst: 1}\n", ["rate_limit", "not supported"]),
        ("basic_auth_users: {alice: secret}\n", ["basic_auth_users.alice", "bcrypt"]),
        ("basic_auth_users: {alice: 12}\n", ["basic_auth_users.alice", "text"]),
        (
            &format!("basic_auth_users: {{alice: '{}'}}\n", hash.replace("$04$", "$31$")),
            ["alice", "cost of 16"],
        ),
        (&format!("basic_auth_users: {{'a:b': '{hash}'}}\n"), ["basic_auth_users.a:b", "colon"]),
        ("a: [\n", ["YAML", "line"]),
        ("a: 1\na: 2\n", ["YAML", "line"]),
    ] {
        let error = load(dir.path(), wrong).err().unwrap_or_else(|| panic!("{wrong}")).to_string();
        for part in parts {
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
    // And by the program.
    let output = Command::new(env!("CARGO_BIN_EXE_losertree-gateway"))
        .args(["--blocks", "/tmp", "--web-config-file", "/nowhere.yml"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("--web-config-file /nowhere.yml"), "{text}");
}

fn dialer(dir: &Path, text: &str, is_encrypted: bool) -> Result<DialerSecurity, ConfigError> {
    let table: toml::Table = text.parse().unwrap();
    let serde_json::Value::Object(table) = serde_json::to_value(table).unwrap() else { panic!("a table") };
    DialerSecurity::new(DialerConfig::read(table, dir)?, is_encrypted, Protocol::Http1)
}

#[test]
fn what_is_wrong_in_the_configuration_of_a_store_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    fs::write(dir.path().join("two-lines"), "one\ntwo\n").unwrap();
    for (wrong, parts) in [
        ("a = 1", ["a: ", "no such field"]),
        ("basic_auth = 1", ["basic_auth: ", "a table"]),
        ("basic_auth = { username = 'a' }", ["basic_auth.password", "text"]),
        ("basic_auth = { username = 'a:b', password = 'c' }", ["basic_auth.username", "colon"]),
        (
            "basic_auth = { username = 'a', password = 'c', password_file = 'd' }",
            ["basic_auth.password", "password_file"],
        ),
        (
            "basic_auth = { username = 'a', password_file = 'd' }",
            ["basic_auth.password_file", "No such file"],
        ),
        (
            "basic_auth = { username = 'a', passwort = 'd', password = 'c' }",
            ["basic_auth.passwort", "no such field"],
        ),
        (
            "basic_auth = { password = 'c' }\nauthorization = { credentials = 'c' }",
            ["authorization", "basic_auth"],
        ),
        ("authorization = { type = 'Basic', credentials = 'c' }", ["authorization.type", "basic_auth"]),
        ("authorization = { type = 'a b', credentials = 'c' }", ["authorization.type", "scheme"]),
        ("authorization = { credentials = \"a\\nb\" }", ["authorization.credentials", "a line"]),
        ("authorization = { credentials_file = 'two-lines' }", ["authorization.credentials_file", "a line"]),
        ("bearer_token = 'c'", ["bearer_token", "authorization.credentials"]),
        ("oauth2 = { client_id = 'c' }", ["oauth2", "not supported"]),
        ("proxy_url = 'http://a'", ["proxy_url", "not supported"]),
        ("tls_config = { ca = 'c' }", ["tls_config.ca", "in a file"]),
        ("tls_config = { ca_file = 'server.key' }", ["tls_config.ca_file", "no certificate"]),
        ("tls_config = { ca_file = 'no.pem' }", ["tls_config.ca_file", "No such file"]),
        ("tls_config = { cert_file = 'client.pem' }", ["tls_config.cert_file", "key_file"]),
        (
            "tls_config = { ca_file = 'ours.pem', cert_file = 'client.pem', key_file = 'server.key' }",
            ["key_file", "keys"],
        ),
        ("tls_config = { server_name = 'a b' }", ["tls_config.server_name", "host"]),
        ("tls_config = { insecure_skip_verify = 1 }", ["insecure_skip_verify", "true or false"]),
        ("tls_config = { min_version = 'TLS11' }", ["tls_config.min_version", "not supported"]),
    ] {
        let error = dialer(dir.path(), wrong, true).err().unwrap_or_else(|| panic!("{wrong}")).to_string();
        for part in parts {
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
    let error = dialer(dir.path(), "tls_config = { insecure_skip_verify = true }", false).unwrap_err();
    assert!(error.to_string().contains("https://"), "{error}");
}

#[test]
fn no_secret_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, _) = certificates(dir.path());
    let hash = hash(4);
    let key = fs::read_to_string(dir.path().join("server.key")).unwrap();
    let key_line = key.lines().nth(1).unwrap().to_owned();
    let secrets = [PASSWORD, TOKEN, &hash, &hash[29..], &key_line, &basic("alice", PASSWORD)[6..]];
    let check = |what: &str, text: &str| {
        for secret in secrets {
            assert!(!text.contains(secret), "{what} prints {secret}: {text}");
        }
    };
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_losertree-gateway")).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        (output.status.success(), text.into_owned())
    };
    // Files that are wrong in every way, beside secrets or in them.
    let web = dir.path().join("web.yml");
    let web_path = web.to_str().unwrap();
    for text in [
        format!("basic_auth_users:\n  alice: {hash}\n  bob: [{hash}\n"),
        format!("basic_auth_users:\n  alice: {hash}\n alice: {hash}\n"),
        format!("basic_auth_users:\n  alice: {PASSWORD}\n"),
        format!("basic_auth_users:\n  alice: [{PASSWORD}]\n"),
        format!("basic_auth_users: {PASSWORD}\n"),
        format!("basic_auth_users: [{hash}]\n"),
        format!("basic_auth_users:\n  alice: {hash}x\n"),
        format!("basic_auth_users:\n  alice: {hash}\n  alice: {hash}\n"),
        format!("tls_server_config:\n  min_version: {PASSWORD}\n"),
        format!("tls_server_config:\n  client_auth_type: {PASSWORD}\n  cert_file: a\n  key_file: b\n"),
        format!("tls_server_config:\n  prefer_server_cipher_suites: {PASSWORD}\n"),
        format!("tls_server_config: {PASSWORD}\n"),
        format!("{PASSWORD}\n"),
        format!("\"{PASSWORD}\n"),
        "tls_server_config:\n  cert_file: server.key\n  key_file: server.key\n".into(),
        format!("tls_server_config:\n  key: |\n    {}\n", key.replace('\n', "\n    ")),
    ] {
        fs::write(&web, &text).unwrap();
        let (ok, printed) = run(&["--blocks", "/tmp", "--web-config-file", web_path]);
        assert!(!ok && printed.contains("web.yml"), "{text}: {printed}");
        check(&text, &printed);
    }
    let config = dir.path().join("gateway.toml");
    let config_path = config.to_str().unwrap();
    let store = "[[store]]\naddress = 'http://127.0.0.1:9'\n";
    for text in [
        format!("{store}basic_auth = {{ username = 'a', password = '{PASSWORD}\n"),
        format!("{store}basic_auth = {{ username = 'a', password = '{PASSWORD}', password = 'a' }}\n"),
        format!("{store}basic_auth = '{PASSWORD}'\n"),
        format!("{store}basic_auth = {{ username = 'a', password = ['{PASSWORD}'] }}\n"),
        format!("{store}basic_auth = {{ username = 'a', password = '{PASSWORD}', password_file = 'b' }}\n"),
        format!("{store}basic_auth = {{ username = 'a', password = '{PASSWORD}', other = 1 }}\n"),
        format!("{store}authorization = {{ credentials = '{TOKEN}', type = 'Basic' }}\n"),
        format!("{store}authorization = {{ credentials = \"{TOKEN}\\n\" }}\n"),
        format!("{store}authorization = '{TOKEN}'\n"),
        format!("{store}bearer_token = '{TOKEN}'\n"),
        format!("{store}password = '{PASSWORD}'\n"),
        format!("{store}tls_config = {{ insecure_skip_verify = '{PASSWORD}' }}\n"),
        format!("{store}tls_config = {{ ca_file = 'server.key' }}\n"),
        format!("{store}labels = ['{PASSWORD}']\n"),
        format!("[[store]]\naddress = 'http://alice:{PASSWORD}@a'\n"),
        format!("[[store]]\naddress = 'http://alice:{PASSWORD} @a'\n"),
        format!("store = ['http://alice:{PASSWORD}@a']\n"),
        format!("store = ['https://{PASSWORD}@a,b']\n"),
        format!("store = [[\"{PASSWORD}\"]]\n"),
        format!("password = '{PASSWORD}'\n"),
        format!("basic_auth = {{ password = '{PASSWORD}' }}\n"),
        format!("{PASSWORD}\n"),
    ] {
        fs::write(&config, &text).unwrap();
        let (ok, printed) = run(&["--config", config_path]);
        assert!(!ok && printed.contains("gateway.toml") || printed.contains("--store"), "{text}: {printed}");
        check(&text, &printed);
    }
    let (ok, printed) = run(&["--store", &format!("http://alice:{PASSWORD}@a")]);
    assert!(!ok);
    check("an address", &printed);
    // All is right, and what goes wrong goes wrong later.
    fs::write(&web, format!("{SERVER}{}", users(4))).unwrap();
    let (address, heard) = listening();
    fs::write(
        &config,
        format!(
            "sync-seconds = 1\n[[store]]\naddress = 'http://{address}'\nauthorization = {{ credentials = '{TOKEN}' }}\n\
             [[store]]\naddress = 'http://127.0.0.1:9'\nbasic_auth = {{ username = 'alice', password = '{PASSWORD}' }}\n"
        ),
    )
    .unwrap();
    let gateway = Gateway::start_with(&["--config", config_path, "--web-config-file", web_path]);
    check("help", &run(&["--config", config_path, "--web-config-file", web_path, "--help"]).1);
    let authority = Authority::new(dir.path(), "other");
    let _ = tls::begin(authority.client(None, BOTH), gateway.address, b"GET / HTTP/1.1\r\n\r\n")
        .and_then(receive);
    let client = |auth: &str, message: &dyn Fn(&str) -> Vec<u8>| {
        let config = ours.client(None, BOTH);
        let (_, head, body) =
            tls::begin(config, gateway.address, &message(auth)).and_then(receive_all).unwrap();
        head + &String::from_utf8_lossy(&body)
    };
    let right = basic("alice", PASSWORD);
    let mut printed = String::new();
    for auth in
        [&*right, &basic("alice", TOKEN), &basic(PASSWORD, TOKEN), &format!("Bearer {TOKEN}"), "Basic \u{1}"]
    {
        printed += &client(auth, &|auth| read_message(Some(auth)));
        printed += &client(auth, &|auth| message("GET", "/metrics", &[("Authorization", auth)], b""));
    }
    assert!(printed.contains("403") || printed.contains("cannot connect"), "{printed}");
    assert!(printed.contains("losertree_gateway_requests_total"), "{printed}");
    // The other store cannot be reached, and a query may end by that before it has asked this one.
    let start = Instant::now();
    let head = loop {
        if let Ok(head) = heard.try_recv() {
            break head;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the store is asked");
        printed += &client(&right, &|auth| read_message(Some(auth)));
    };
    assert!(head.contains(TOKEN), "the store has it");
    check("answers", &printed);
    // A secret that is put into the wrong file.
    fs::write(&web, format!("{SERVER}{}password: {PASSWORD}\n", users(4))).unwrap();
    let log = gateway.wait_for("stays as it was: password: there is no such field");
    check("the log", &log);
    let (is_balanced, printed) = gateway.stop();
    assert!(is_balanced, "{printed}");
    check("the ledger", &printed);
    // What a developer prints.
    fs::write(&web, format!("{SERVER}{}", users(4))).unwrap();
    let listener = ListenerSecurity::load(&web).unwrap();
    check("Debug of the listener", &format!("{listener:?} {listener:#?}"));
    let text = format!(
        "basic_auth = {{ username = 'alice', password = '{PASSWORD}' }}\ntls_config = {{ insecure_skip_verify = true, cert_file = 'client.pem', key_file = 'client.key' }}"
    );
    let dialer = dialer(dir.path(), &text, true).unwrap();
    check("Debug of the dialer", &format!("{dialer:?} {:?}", dialer.authorization()));
}
