use std::fs;

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::ResponseType::Samples;

use crate::security::{MINUTES, PASSWORD, SERVER, WITH_CLIENTS, basic, certificates, users};
use crate::support::process::{Gateway, get, query, read, sampled};
use crate::support::*;

#[test]
fn a_gateway_asks_a_gateway_by_tls_with_a_certificate_and_a_password() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let data = make_blocks(dir.path(), &open_metrics(&scraped(200), START_MS, MINUTES));
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let web = dir.path().join("web.yml");
    fs::write(&web, format!("{SERVER}{WITH_CLIENTS}{}", users(4))).unwrap();
    let arguments = ["--grpc-listen", "127.0.0.1:0", "--web-config-file", web.to_str().unwrap()];
    let lower = Gateway::start(&data, &arguments);
    let address = format!("https://{}", lower.store_api.unwrap());
    fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    let config = dir.path().join("gateway.toml");
    let secrets = [PASSWORD, &basic("alice", PASSWORD)[6..]];
    let check = |what: &str, text: &str| {
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{what} has a secret: {text}");
    };
    // Asks for all by remote read. What it says, and what its page and its log say, has no secret in it.
    let ask = |address: &str, fields: &str, arguments: &[&str]| {
        fs::write(&config, format!("[[store-api]]\naddress = '{address}'\n{fields}\n")).unwrap();
        let config = ["--config", config.to_str().unwrap(), "--store-seconds", "60"];
        let upper = Gateway::start_with(&[&config, arguments].concat());
        let all = vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
        let (status, body) = read(upper.address, all, Samples).unwrap();
        let [page, state, metrics] = ["/", "/api/v1/status/gateway", "/metrics"]
            .map(|path| String::from_utf8(get(upper.address, path).unwrap().1).unwrap());
        for (what, text) in [
            ("the page", &page),
            ("the state", &state),
            ("the metrics", &metrics),
            ("the log", &upper.log().join("\n")),
            ("the answer", &String::from_utf8_lossy(&body).into_owned()),
        ] {
            check(what, text);
        }
        assert!(page.contains(address) && state.contains(address) && state.contains("StoreAPI"), "{state}");
        upper.assert_stops_balanced();
        (status, body)
    };
    let certificate = "cert_file = 'client.pem', key_file = 'client.key'";
    let tls = format!("tls_config = {{ ca_file = 'ours.pem', server_name = 'localhost', {certificate} }}");
    let password = "basic_auth = { username = 'alice', password_file = 'password' }";
    // Also as one that takes off labels, for which it asks what the other one can.
    for arguments in [&[][..], &["--replica-label", "nothing"]] {
        let (status, body) = ask(&address, &format!("{tls}\n{password}"), arguments);
        assert!(status == 200 && sampled(&body) == [wanted.clone()], "{}", String::from_utf8_lossy(&body));
    }
    let here = format!("basic_auth = {{ username = 'alice', password = '{PASSWORD}' }}");
    let plain = address.replace("https", "http");
    let stranger = tls.replace("client.", "stranger.");
    for (address, fields, part) in [
        (&address, format!("{tls}\n{}", here.replace(PASSWORD, "wrong")), "UNAUTHENTICATED"),
        (&address, tls.clone(), "UNAUTHENTICATED"),
        (&address, format!("{tls}\nauthorization = {{ credentials = '{PASSWORD}' }}"), "UNAUTHENTICATED"),
        (&address, format!("{}\n{password}", tls.replace("localhost", "other.example")), "no TLS"),
        (&address, format!("{}\n{password}", tls.replace("ours.pem", "theirs.pem")), "no TLS"),
        (&address, format!("{stranger}\n{password}"), "the connection has broken"),
        // Whether the reason is read before the connection breaks is a matter of time.
        (
            &address,
            format!("{}\n{here}", tls.replace(&format!(", {certificate}"), "")),
            "the connection has broken",
        ),
        (&plain, here.clone(), "the connection has broken"),
    ] {
        let (status, body) = ask(address, &fields, &[]);
        let text = String::from_utf8_lossy(&body);
        assert!(
            status == 500 && text.contains(part) && text.contains(address.as_str()),
            "{fields}: {status}: {text}"
        );
    }
    let log = lower.wait_for("no TLS");
    check("the log of the one that is asked", &log);
    let (is_balanced, printed) = lower.stop();
    assert!(is_balanced, "{printed}");
    check("the ledger", &printed);
}

#[test]
fn whoever_listens_beyond_the_machine_by_grpc_is_told_what_that_means() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(10), START_MS, MINUTES));
    let gateway = Gateway::start(&data, &["--grpc-listen", "0.0.0.0:0", "--allow-remote"]);
    let address = gateway.store_api.unwrap();
    gateway.wait_for(&format!("whoever reaches {address} can ask"));
    gateway.assert_stops_balanced();
    let web = dir.path().join("web.yml");
    fs::write(&web, users(4)).unwrap();
    let arguments = ["--web-config-file", web.to_str().unwrap()];
    let beyond = ["--grpc-listen", "0.0.0.0:0", "--allow-remote"];
    let gateway = Gateway::start(&data, &[&arguments[..], &beyond].concat());
    let address = gateway.store_api.unwrap();
    gateway.wait_for(&format!("passwords come to {address} in the clear"));
    gateway.assert_stops_balanced();
}
