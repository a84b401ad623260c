//! What those see who run a gateway: the page, alerts, and what a leak looks like.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use losertree::LeakLedger;
use losertree_prometheus::BlockStore;
use losertree_prometheus::remote::proto::ResponseType;
use regex::Regex;
use serde_json::Value;
use support::browser::{Browser, has_browser};
use support::process::{Gateway, Prometheus, begin, get, query, request, send};
use support::{MINUTE_MS, START_MS, always, block_dirs, has_prometheus};

/// Two blocks.
fn blocks(dir: &Path) -> PathBuf {
    support::make_blocks(dir, &support::open_metrics(&support::scraped(2_000), START_MS, 200))
}

fn status(address: SocketAddr) -> Value {
    let (code, body) = get(address, "/api/v1/status/gateway").unwrap();
    assert_eq!(code, 200);
    serde_json::from_slice(&body).unwrap()
}

fn metrics(address: SocketAddr) -> String {
    String::from_utf8(get(address, "/metrics").unwrap().1).unwrap()
}

/// The value of a series in the text of `/metrics`.
fn metric(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {series} in {text}")).parse().unwrap()
}

/// Begins a request that takes longer than anybody who does not read it: the same query 64 times.
fn begin_long(address: SocketAddr) -> TcpStream {
    // `from` is a label of all series; the other one is as hostile as a client can be.
    let hostile =
        query(&[("from", 2, ".+"), ("job", 1, "\"><img src=x onerror=alert(1)>\u{202e}")], always());
    let body = request(vec![hostile; 64], ResponseType::StreamedXorChunks);
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    begin(address, "POST", "/api/v1/read", &headers, &body).unwrap()
}

/// Waits until something is so.
fn eventually<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = is_so() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "in two minutes there was not: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_block_that_is_removed_is_closing_until_its_last_reader_has_left() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let store = BlockStore::new(Some(data.clone()), BTreeMap::new(), &LeakLedger::off());
    store.sync().unwrap();
    let block = store.blocks().swap_remove(0);
    let guard = block.enter("a query").unwrap();
    fs::remove_dir_all(block.dir()).unwrap();
    store.sync().unwrap();
    assert!(block.enter("a query that comes later").is_err(), "nobody is let in");
    thread::sleep(Duration::from_millis(20));
    let held = store.held();
    assert_eq!(held.len(), 1);
    assert!(held[0].closing_for >= Duration::from_millis(20), "{held:?}");
    drop(guard);
    assert!(store.held().is_empty());
}

#[test]
fn figures_on_the_page_move_while_a_query_runs() {
    if !has_prometheus() || !has_browser() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let hostile = "evil=<b id=injected>\"x\"</b>&amp;'";
    let gateway = Gateway::start(&data, &["--external-label", hostile]);
    let url = format!("http://{}/", gateway.address);
    let browser = Browser::start();
    browser.load(&url);
    let total = |key: &str| {
        let text = browser.text(&format!("[data-key='totals.{key}']")).unwrap();
        text.replace(',', "").parse::<u64>().ok()
    };
    assert_eq!((total("running_queries"), total("queries"), total("open")), (Some(0), Some(0), Some(0)));

    let mut client = begin_long(gateway.address);
    let given = || {
        let row = "[data-rows=queries] tbody tr";
        let cell = |head: &str| browser.text(&format!("{row} [data-head='{head}'] span"));
        let series: u64 = cell("series given")?.replace(',', "").parse().ok()?;
        Some((total("queries")?, series, cell("query")?, cell("selector")?))
    };
    let first = browser.wait("a query that has given some series", |_| given().filter(|given| given.1 > 0));
    assert_eq!(total("running_queries"), Some(1));
    assert!(total("open") > Some(0) && total("readers") > Some(0));
    let name = format!("of {}", client.local_addr().unwrap());
    assert!(first.2.ends_with(&name), "{first:?}");
    assert!(first.3.contains("<img src=x onerror=alert(1)>"), "{first:?}");
    assert!(!first.3.contains('\u{202e}'), "{first:?}");

    // The client reads on, and the figures are others: each time.
    let mut last = (first.0, first.1);
    for _ in 0..2 {
        let mut read = 0;
        let mut buffer = vec![0; 64 << 10];
        while read < 8 << 20 {
            let len = client.read(&mut buffer).unwrap();
            assert!(len > 0, "the answer is longer");
            read += len;
        }
        last = browser
            .wait("other figures", |_| given().map(|given| (given.0, given.1)).filter(|given| *given > last));
    }
    drop(client);
    browser.wait("no query", |_| (total("running_queries") == Some(0)).then_some(()));
    browser.wait("nothing open", |_| (total("open") == Some(0) && total("readers") == Some(0)).then_some(()));

    // What comes from outside is text.
    assert_eq!(browser.run("return document.getElementById('injected')"), Value::Null);
    let labels = browser.text("[data-rows=blocks] [data-head=labels] span").unwrap();
    assert!(labels.contains("<b id=injected>") && labels.contains("</b>&amp;'"), "{labels}");

    // Without the script, the page says the same. What ends in seconds is of another moment.
    let differences = browser.run(SAME_WITHOUT_SCRIPT);
    assert_eq!(differences, Value::Array(Vec::new()));

    // It fits, and has another theme in the dark.
    let mut grounds = BTreeSet::new();
    for (width, is_phone) in [(1280, false), (390, true), (320, true)] {
        for theme in ["light", "dark"] {
            browser.look_like(width, is_phone, theme);
            browser.load(&url);
            let widths = browser.run("const { scrollWidth, clientWidth } = document.documentElement; return [scrollWidth, clientWidth];");
            assert_eq!(widths[0], widths[1], "at {width} in {theme}");
            let ground = browser.run("return getComputedStyle(document.body).backgroundColor");
            grounds.insert(ground.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(grounds.len(), 2, "{grounds:?}");

    // Nothing was refused by the policy, and nothing else went wrong.
    assert_eq!(browser.complaints(), Vec::<Value>::new());

    gateway.assert_stops_balanced();
    let stale = browser.wait("that the gateway is gone", |browser| {
        browser.text("#connection").filter(|text| !text.is_empty())
    });
    assert!(stale.starts_with("The gateway cannot be asked"), "{stale}");
}

/// Compares all of the page with what the server makes of the same state, and returns what differs.
const SAME_WITHOUT_SCRIPT: &str = r"
    const text = await (await fetch('./')).text();
    const other = new DOMParser().parseFromString(text, 'text/html');
    const changes = '.seconds, [data-kind=seconds], [data-key=now_ms], [data-key*=syncs], #pause, noscript';
    const state = (page) => {
        const main = page.body.cloneNode(true);
        main.querySelectorAll(changes).forEach((element) => { element.textContent = ''; });
        main.querySelectorAll('progress').forEach((bar) => { bar.replaceWith(`${bar.value} / ${bar.max}`); });
        main.querySelectorAll('#pause, noscript').forEach((element) => element.remove());
        main.querySelectorAll('*').forEach((element) => {
            const attributes = [...element.attributes].map(({name, value}) => `${name}=${value}`).sort();
            element.replaceWith(...[`<${element.localName} ${attributes}>`, ...element.childNodes]);
        });
        return main.textContent.split(/\s*\n\s*|(?=<)/).map((line) => line.trim()).filter(Boolean);
    };
    const [mine, theirs] = [state(document), state(other)];
    const differs = (line, place) => line !== theirs[place];
    const differences = mine.filter(differs).slice(0, 5);
    return mine.length === theirs.length ? differences : [mine.length, theirs.length, ...differences];
";

#[test]
fn the_page_is_what_it_says_it_is() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let gateway = Gateway::start(&data, &["--store", "http://127.0.0.1:1/,cluster=us"]);
    for path in ["/", "/page.css", "/page.js", "/api/v1/status/gateway"] {
        assert_eq!(get(gateway.address, path).unwrap().0, 200, "{path}");
        let mut head = String::new();
        begin(gateway.address, "HEAD", path, &[], b"").unwrap().read_to_string(&mut head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{path}: {head}");
        assert!(head.contains("content-security-policy: default-src 'none';"), "{path}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        assert_eq!(send(gateway.address, "POST", path, &[], b"").unwrap().0, 405, "{path}");
    }
    let state = status(gateway.address);
    assert_eq!(state["state"], "serving");
    assert_eq!(state["forgets_closes"], false);
    assert_eq!(state["blocks"].as_array().unwrap().len(), block_dirs(&data).len());
    assert_eq!(state["stores"][1]["store"], "http://127.0.0.1:1/");
    assert_eq!(state["syncs"][0]["found"], format!("{} added", block_dirs(&data).len()));
    // A query that fails is on the page, with the store that has failed it.
    let failing = request(vec![query(&[("from", 2, ".+")], always())], ResponseType::StreamedXorChunks);
    assert_eq!(send(gateway.address, "POST", "/api/v1/read", &[], &failing).unwrap().0, 500);
    let failure = &status(gateway.address)["failures"][0];
    assert_eq!(failure["kind"], "failed");
    assert!(failure["problem"].as_str().unwrap().contains("http://127.0.0.1:1/"), "{failure}");
    assert!(failure["query"].as_str().unwrap().starts_with("query 0 of 127.0.0.1:"), "{failure}");
    // What is wrong with a block is, too, and it takes one place, however often it is looked at.
    fs::write(block_dirs(&data)[0].join("meta.json"), "{").unwrap();
    gateway.assert_stops_balanced();
    let gateway = Gateway::start(&data, &["--sync-seconds", "1"]);
    let syncs = eventually("three looks at the blocks", || {
        let state = status(gateway.address);
        (state["totals"]["syncs"].as_u64() >= Some(3)).then(|| state["syncs"].clone())
    });
    let found = syncs.as_array().unwrap();
    assert_eq!(found.len(), 2, "{syncs}");
    assert!(found[0]["found"].as_str().unwrap().starts_with("1 wrong: "), "{syncs}");
    let text = metrics(gateway.address);
    assert!(metric(&text, "losertree_gateway_wrong_blocks") >= 1.0);
    assert!(metric(&text, "losertree_gateway_syncs_total") >= 3.0);
    gateway.assert_stops_balanced();
}

/// The rules of the repository, with all their windows cut by 60: a minute is a second.
fn rules_cut_by_60(dir: &Path) -> PathBuf {
    let text = fs::read_to_string(alert_files()[0].as_path()).unwrap();
    let text = Regex::new(r"\b(\d+)m\b").unwrap().replace_all(&text, "${1}s");
    let text = Regex::new(r"\b(\d+)h\b").unwrap().replace_all(&text, "${1}m");
    let cut = text.replace("closing_seconds > 300", "closing_seconds > 5");
    assert_ne!(text, cut);
    let path = dir.join("rules.yml");
    fs::write(&path, cut).unwrap();
    path
}

/// The files that have alerts.
fn alert_files() -> [PathBuf; 1] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [root.join("../../docs/alerts/losertree.rules.yml")]
}

#[test]
fn a_close_that_is_forgotten_is_named_by_page_ledger_metrics_and_alerts() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (blocks(dir.path()), dir.path().join("other"));
    support::process::copy_dir(&data, &other);
    let arguments = ["--query-seconds", "1", "--sync-seconds", "1", "--concurrency", "8"];
    let leaking = Gateway::start(&data, &[&arguments[..], &["--leak"]].concat());
    let sound = Gateway::start(&other, &arguments);
    eventually("a warning", || {
        leaking.log().iter().any(|line| line.starts_with("warning: --leak is a demonstration")).then_some(())
    });
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{}]\n\
         scrape_configs: [{{ job_name: gateway, static_configs: [{{ targets: [\"{}\", \"{}\"] }}] }}]\n",
        rules_cut_by_60(dir.path()).display(),
        leaking.address,
        sound.address,
    );
    let prometheus = Prometheus::configured(&dir.path().join("prometheus"), &config);

    // The same clients go away from both.
    for address in [leaking.address, sound.address] {
        for _ in 0..8 {
            let mut client = begin_long(address);
            client.read_exact(&mut [0; 64 << 10]).unwrap();
        }
    }
    eventually("a sound gateway", || (status(sound.address)["totals"]["open"] == 0).then_some(()));
    // A block that the forgotten queries read is removed.
    let removed = block_dirs(&data).swap_remove(0);
    let name = removed.file_name().unwrap().to_str().unwrap();
    fs::remove_dir_all(&removed).unwrap();
    fs::remove_dir_all(other.join(name)).unwrap();

    // The page: what is open, since when, and from which line; the block that cannot go; and that all this is on purpose.
    let state = eventually("something that is overdue", || {
        let state = status(leaking.address);
        (state["overdue_sites"].as_u64() > Some(0) && state["totals"]["closing_blocks"] == 1).then_some(state)
    });
    assert_eq!(state["forgets_closes"], true);
    assert_eq!(state["totals"]["running_queries"], 8);
    let sites = state["open_sites"].as_array().unwrap();
    let site = sites.iter().find(|site| site["oldest"].as_str().unwrap().starts_with("reader of")).unwrap();
    assert_eq!((site["count"].as_u64(), site["overdue"].as_bool()), (Some(16), Some(true)));
    let site = site["site"].as_str().unwrap();
    assert!(source_line(site).contains(".enter("), "{site}");
    let blocks = state["blocks"].as_array().unwrap();
    let closing = blocks.iter().find(|block| block["state"] == "closing").unwrap();
    assert_eq!((closing["block"].as_str(), closing["readers"].as_u64()), (Some(name), Some(8)));
    let page = String::from_utf8(get(leaking.address, "/").unwrap().1).unwrap();
    assert!(page.contains(&format!("<span>{site}</span>")), "{page}");
    assert!(page.contains("data-show=\"forgets_closes\">\n"), "{page}");
    assert!(page.contains("data-show=\"overdue_sites\">\n"), "{page}");
    let sound_page = String::from_utf8(get(sound.address, "/").unwrap().1).unwrap();
    assert!(sound_page.contains("data-show=\"forgets_closes\" hidden>"));
    assert!(sound_page.contains("data-show=\"overdue_sites\" hidden>"));

    // The alerts, of a real Prometheus: of the gateway that leaks, and of no other.
    let wanted = BTreeSet::from([
        "LosertreeGateClosingTooLong blocks".to_owned(),
        "LosertreePoolLeak admission".to_owned(),
        "LosertreePoolLeak buffers".to_owned(),
    ]);
    let mut all = BTreeSet::new();
    eventually("alerts that fire", || {
        for alert in prometheus.api("/api/v1/alerts")["alerts"].as_array().unwrap() {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default();
            if alert["state"] == "firing" {
                assert_eq!(label("instance"), leaking.address.to_string(), "{alert}");
                all.insert(format!("{} {}{}", label("alertname"), label("pool"), label("gate")));
            }
        }
        wanted.is_subset(&all).then_some(())
    });

    // The metrics.
    let text = metrics(leaking.address);
    let budget = metric(&text, "losertree_pool_budget_bytes{pool=\"buffers\"}");
    let share = metric(&text, "losertree_pool_long_held_bytes{pool=\"buffers\"}") / budget;
    assert!(share > 0.05, "{share}");
    assert!(metric(&text, "losertree_gate_pending_readers{gate=\"blocks\"}") >= 16.0);
    assert!(metric(&text, "losertree_gate_closing_seconds{gate=\"blocks\"}") > 5.0);
    assert!(metric(&text, "losertree_ledger_open_entries{ledger=\"gateway\"}") >= 32.0);
    let text = metrics(sound.address);
    assert!(metric(&text, "losertree_pool_long_held_bytes{pool=\"buffers\"}") < 1.0);
    assert!(metric(&text, "losertree_gate_pending_readers{gate=\"blocks\"}") < 1.0);

    // The ledger, which is printed at the end.
    sound.assert_stops_balanced();
    let (is_balanced, printed) = leaking.stop();
    assert!(!is_balanced, "{printed}");
    let line = printed.lines().find(|line| line.contains(&format!("opened at {site}")));
    let line = line.unwrap_or_else(|| panic!("{site} is not in {printed}"));
    assert!(line.trim().starts_with("16 opened at") && line.contains("reader of"), "{line}");
}

/// The line of code that something names.
fn source_line(site: &str) -> String {
    let mut parts = site.split(':');
    let (file, line) = (parts.next().unwrap(), parts.next().unwrap().parse::<usize>().unwrap());
    // As the compiler was told, which was from the workspace.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(file).unwrap().lines().nth(line - 1).unwrap().to_owned()
}

#[test]
fn nobody_has_a_leak_by_accident() {
    let gateway = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_losertree-gateway")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (_, help) = gateway(&["--help"]);
    assert!(help.contains("--grace-seconds") && !help.contains("--leak"), "{help}");
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    fs::write(&config, "leak = true\n").unwrap();
    let (code, said) = gateway(&["--blocks", ".", "--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no option \"leak\""), "{said}");
    let (code, said) = gateway(&["--blocks", ".", "--listen", "0.0.0.0:0", "--allow-remote", "--leak"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--leak is a demonstration"), "{said}");
}
