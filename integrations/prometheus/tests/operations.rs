//! What those see who run a gateway: the page, alerts, and what a leak looks like.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]

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
use support::process::{Gateway, Prometheus, begin, get, listen, peak_bytes, query, read, request, send};
use support::{START_MS, always, block_dirs, has_prometheus};

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

/// A client that does not read is looked at for as long as that takes on this machine.
const PATIENT: &[&str] = &["--stall-seconds", "600"];

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
fn when_the_last_block_has_gone_no_reader_stays_in_the_metrics() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    // A query waits for this server, and keeps its blocks. One that waits for its client need not wait yet when they go.
    let silent = listen(|_, server| drop(server.read(&mut [0])));
    let store = format!("http://{silent}");
    let gateway =
        Gateway::start(&data, &["--sync-seconds", "1", "--store", &store, "--store-seconds", "600"]);
    let client = begin_long(gateway.address);
    let figures = || {
        let text = metrics(gateway.address);
        let gate = |name: &str| metric(&text, &format!("losertree_gate_{name}{{gate=\"blocks\"}}"));
        let held = metric(&text, "losertree_gateway_blocks_held");
        [gate("pending_readers"), gate("oldest_reader_seconds"), gate("closing_seconds"), held]
    };
    eventually("readers", || (figures()[0] > 0.0).then_some(()));
    for dir in block_dirs(&data) {
        fs::remove_dir_all(dir).unwrap();
    }
    eventually("blocks that are closing", || figures().iter().all(|figure| *figure > 0.0).then_some(()));
    drop(client);
    eventually("no reader", || figures().iter().all(|figure| *figure <= 0.0).then_some(()));
    gateway.assert_stops_balanced();
}

#[test]
fn the_container_file_copies_what_there_is() {
    let text = document("ops/Containerfile");
    let copied = all_of(&text, r"(?m)^COPY ([A-Za-z].*) \S+$");
    assert!(!copied.is_empty());
    for path in copied.iter().flat_map(|paths| paths.split(' ')) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).exists(), "{path}");
    }
    let needed = all_of(&document("../Cargo.toml"), "rust-version = \"(.*)\"");
    assert_eq!(all_of(&text, r"/rust:([0-9.]+)-"), needed, "the image has the Rust that is needed");
}

#[test]
fn figures_on_the_page_move_while_a_query_runs() {
    if !has_prometheus() || !has_browser() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let hostile = "evil=<b id=injected>\"x\"</b>&amp;'";
    let gateway = Gateway::start(&data, &[&["--external-label", hostile], PATIENT].concat());
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
    // It has none between one of its queries and the next.
    browser.wait("readers", |_| (total("open") > Some(0) && total("readers") > Some(0)).then_some(()));
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

    // Without the script, the page says the same. What ends in seconds is of another moment; so is the rest until the script has
    // asked again.
    let start = Instant::now();
    loop {
        let differences = browser.run(SAME_WITHOUT_SCRIPT);
        if differences == Value::Array(Vec::new()) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{differences}");
        thread::sleep(Duration::from_millis(100));
    }

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
    let gateway = Gateway::start(&data, &["--store", "http://127.0.0.1:1/read?token=s3cret,cluster=us"]);
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
    assert_eq!(state["stores"][1]["store"], "http://127.0.0.1:1/read");
    assert_eq!(state["syncs"][0]["found"], format!("{} added", block_dirs(&data).len()));
    // A query that fails is on the page, with the store that has failed it.
    let failing = request(vec![query(&[("from", 2, ".+")], always())], ResponseType::StreamedXorChunks);
    let (code, answer) = send(gateway.address, "POST", "/api/v1/read", &[], &failing).unwrap();
    assert_eq!(code, 500);
    let failure = &status(gateway.address)["failures"][0];
    assert_eq!(failure["kind"], "failed");
    assert!(failure["problem"].as_str().unwrap().contains("http://127.0.0.1:1/"), "{failure}");
    assert!(failure["query"].as_str().unwrap().starts_with("query 0 of 127.0.0.1:"), "{failure}");
    // What follows a question mark may be a secret.
    let page = String::from_utf8(get(gateway.address, "/").unwrap().1).unwrap();
    let said = [failure.to_string(), state.to_string(), page, String::from_utf8(answer).unwrap()];
    assert!(said.iter().chain(&gateway.log()).all(|text| !text.contains("s3cret")), "{said:?}");
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
    let text = document("../../docs/alerts/losertree.rules.yml");
    let text = Regex::new(r"\b(\d+)m\b").unwrap().replace_all(&text, "${1}s");
    let text = Regex::new(r"\b(\d+)h\b").unwrap().replace_all(&text, "${1}m");
    let cut = text.replace("closing_seconds > 300", "closing_seconds > 5");
    assert_ne!(text, cut);
    let path = dir.join("rules.yml");
    fs::write(&path, cut).unwrap();
    path
}

/// The files that have alerts, from the crate.
const ALERTS: [&str; 2] = ["../../docs/alerts/losertree.rules.yml", "ops/gateway.rules.yml"];

/// A file of the repository, by its path from the crate.
fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What an expression finds in a text: its first group.
fn all_of(text: &str, expression: &str) -> BTreeSet<String> {
    let expression = Regex::new(expression).unwrap();
    expression.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn a_close_that_is_forgotten_is_named_by_page_ledger_metrics_and_alerts() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (blocks(dir.path()), dir.path().join("other"));
    support::process::copy_dir(&data, &other);
    let arguments = ["--query-seconds", "3", "--sync-seconds", "1", "--concurrency", "8"];
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
            client.read_exact(&mut vec![0; 64 << 10]).unwrap();
        }
    }
    eventually("a sound gateway", || (status(sound.address)["totals"]["open"] == 0).then_some(()));
    // A block that the forgotten queries read is removed.
    let removed = block_dirs(&data).swap_remove(0);
    let name = removed.file_name().unwrap().to_str().unwrap();
    fs::remove_dir_all(&removed).unwrap();
    fs::remove_dir_all(other.join(name)).unwrap();

    // The page: what is open, since when, and from which line; the block that cannot go; and that all this is on purpose.
    let is_of_readers = |site: &&Value| site["oldest"].as_str().unwrap().starts_with("reader of");
    let readers = |state: &Value| state["open_sites"].as_array().unwrap().iter().find(is_of_readers).cloned();
    // What a query opens before that is overdue before that, too.
    let state = eventually("readers that are overdue", || {
        let state = status(leaking.address);
        let is_overdue = readers(&state).is_some_and(|site| site["overdue"] == true);
        (is_overdue && state["totals"]["closing_blocks"] == 1).then_some(state)
    });
    assert!(state["overdue_sites"].as_u64() > Some(0), "{state}");
    assert_eq!(state["forgets_closes"], true);
    assert_eq!(state["totals"]["running_queries"], 8);
    let site = readers(&state).unwrap();
    assert_eq!(site["count"], 16, "{site}");
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
        for alert in prometheus.api("/api/v1/alerts").unwrap()["alerts"].as_array().unwrap() {
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

#[test]
fn every_alert_has_a_section_that_it_links_to() {
    let page = document("docs/when-it-pages-you.md");
    let sections = all_of(&page, r"(?m)^## (\w+)$");
    let mut alerts = BTreeSet::new();
    for file in ALERTS {
        let text = document(file);
        let names = all_of(&text, r"- alert: (\w+)");
        assert!(!names.is_empty(), "{file}");
        for link in all_of(&text, r"runbook_url: (\S+)") {
            let (path, section) = link.split_once('#').unwrap();
            let titles = all_of(&document(&format!("../../{path}")), r"(?m)^## (\w+)$");
            assert!(titles.iter().any(|title| title.to_lowercase() == section), "{link}");
        }
        // Each alert, and not only as many as there are links.
        for alert in text.split("- alert: ").skip(1) {
            let name = alert.lines().next().unwrap();
            let link = format!("#{}", name.to_lowercase());
            // The second alert of a name has the annotations of the first.
            assert!(alert.contains(&link) || alert.contains("annotations: *"), "{name} has no link");
        }
        alerts.extend(names);
    }
    assert_eq!(sections, alerts);
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    all_of(text, r"\b(losertree_[a-z_]+)")
}

#[test]
fn every_metric_of_dashboard_and_alerts_is_documented_and_published() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let gateway = Gateway::start(&data, &["--sync-seconds", "1"]);
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs: [{{ job_name: losertree-gateway, static_configs: [{{ targets: [\"{}\"] }}] }}]\n",
        gateway.address,
    );
    let prometheus = Prometheus::configured(&dir.path().join("prometheus"), &config);
    let body = request(vec![query(&[("from", 2, ".+")], always())], ResponseType::StreamedXorChunks);
    let ask = || assert_eq!(send(gateway.address, "POST", "/api/v1/read", &[], &body).unwrap().0, 200);
    ask();

    let text = metrics(gateway.address);
    let published: BTreeSet<String> = all_of(&text, r"(?m)^(losertree_[a-z_]+)[{ ]");
    assert!(published.contains("losertree_merge_duration_seconds_bucket"), "{text}");
    let own = names(&document("docs/metrics.md"));
    let documented: BTreeSet<_> = own.union(&names(&document("../../docs/metrics.md"))).cloned().collect();
    let is_gateways = |name: &&String| name.starts_with("losertree_gateway_");
    let of_gateway: BTreeSet<_> = published.iter().filter(is_gateways).cloned().collect();
    assert_eq!(
        of_gateway,
        own.iter().filter(is_gateways).cloned().collect(),
        "docs/metrics.md is what there is"
    );
    let dashboard = document("ops/dashboard.json");
    for (file, text) in
        [("dashboard", dashboard.clone()), (ALERTS[0], document(ALERTS[0])), (ALERTS[1], document(ALERTS[1]))]
    {
        let used = names(&text);
        assert!(used.len() >= 5, "{file}: {used:?}");
        for name in used {
            assert!(published.contains(&name), "{file}: {name} is not published");
            let plain = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(documented.contains(plain), "{file}: {name} is not documented");
        }
    }

    // Grafana puts values where the dashboard has variables. Then a real Prometheus has an answer to each expression.
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(expressions.len() >= 20);
    for expression in expressions {
        let query = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        assert!(!query.contains('$'), "{query}");
        let path = format!("/api/v1/query?query={}", support::process::escape(&query));
        eventually(&format!("an answer to {query}"), || {
            ask();
            let result = prometheus.api(&path).unwrap()["result"].clone();
            (!result.as_array().unwrap().is_empty()).then_some(())
        });
    }
    gateway.assert_stops_balanced();
}

#[test]
fn queries_of_the_store_api_and_its_stores_are_shown() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let [plain, labelled] = [(); 2].map(|()| Gateway::start(&data, &["--grpc-listen", "127.0.0.1:0"]));
    let servers = [plain.store_api_url(), format!("{},cluster=eu", labelled.store_api_url())];
    let stores = ["--store-api", &servers[0], "--store-api", &servers[1]];
    let upper = Gateway::start_with(&[&stores, PATIENT].concat());
    let mut client = begin_long(upper.address);
    // An answer that gets a label is held whole and sorted, so that its store is done soon. The other store has to wait for the
    // client, unless the rest of its answer to one of the queries is on its way: then the client reads until the next one.
    eventually("a query of both", || {
        let state = status(plain.address);
        let query = &state["queries"][0];
        // A query is there before it has entered its blocks.
        let has_entered = query["blocks"] == state["totals"]["blocks"];
        if query["kind"] == "StoreAPI" && has_entered && state["totals"]["readers"].as_u64() > Some(0) {
            return Some(());
        }
        client.read_exact(&mut vec![0; 64 << 10]).unwrap();
        None
    });
    let state = eventually("a query that asks both", || {
        let state = status(upper.address);
        let query = &state["queries"][0];
        (query["kind"] == "remote read" && query["servers"] == 2).then_some(state)
    });
    for (lower, labels) in [(&plain, "{}"), (&labelled, "{cluster=\"eu\"}")] {
        let url = lower.store_api_url();
        let stores = state["stores"].as_array().unwrap();
        let store = stores.iter().find(|store| store["store"] == url.as_str()).unwrap();
        assert_eq!((&store["kind"], &store["labels"]), (&"StoreAPI".into(), &labels.into()));
        let page = String::from_utf8(send(upper.address, "GET", "/", &[], b"").unwrap().1).unwrap();
        assert!(page.contains(&url), "{page}");
    }
    drop(client);
    for gateway in [upper, plain, labelled] {
        eventually("nothing open", || (status(gateway.address)["totals"]["open"] == 0).then_some(()));
        let text = metrics(gateway.address);
        if gateway.store_api.is_some() {
            assert!(text.contains("losertree_gateway_rpcs_total{method=\"Series\""), "{text}");
        }
        gateway.assert_stops_balanced();
    }
}

#[test]
fn every_field_of_the_json_is_documented() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let gateway = Gateway::start(&data, PATIENT);
    // A client that has not read all, so that no list is empty but those of failures. Not all lists are of the same moment.
    let client = begin_long(gateway.address);
    let lists = ["queries", "pools", "open_sites", "open", "stores", "blocks", "readers", "syncs"];
    let state = eventually("a query that runs", || {
        let state = status(gateway.address);
        lists.iter().all(|list| !state[*list].as_array().unwrap().is_empty()).then_some(state)
    });
    drop(client);
    let mut fields = BTreeSet::new();
    add_fields(&state, &mut fields);
    let documented = all_of(&document("docs/page.md"), "`([a-z_]+)`");
    let missing: Vec<_> = fields.difference(&documented).collect();
    assert!(missing.is_empty(), "{missing:?}");
    eventually("nothing open", || (status(gateway.address)["totals"]["open"] == 0).then_some(()));
    gateway.assert_stops_balanced();
}

fn add_fields(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                fields.insert(name.clone());
                add_fields(value, fields);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| add_fields(value, fields)),
        _ => {}
    }
}

#[test]
fn the_unit_and_its_configuration_are_valid() {
    if !has_prometheus() {
        return;
    }
    // The configuration: all its options are some, also those that are commented out.
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path());
    let text = document("ops/losertree-gateway.toml");
    let config = dir.path().join("losertree-gateway.toml");
    fs::write(&config, &text).unwrap();
    let gateway = Gateway::start_with(&[
        "--config",
        config.to_str().unwrap(),
        "--blocks",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    gateway.assert_stops_balanced();
    let commented = all_of(&text, r"(?m)^# ([a-z-]+ = .*)$");
    assert!(!commented.is_empty());
    for line in commented {
        fs::write(&config, format!("{line}\n")).unwrap();
        let gateway = Gateway::start_with(&[
            "--config",
            config.to_str().unwrap(),
            "--blocks",
            data.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ]);
        gateway.assert_stops_balanced();
    }

    let analyze = || Command::new("systemd-analyze");
    if !analyze().arg("--version").output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "systemd-analyze is not installed");
        eprintln!("NOT TESTED: systemd-analyze is not installed; on Debian: apt-get install systemd");
        return;
    }
    // The program is where it was built.
    let unit = dir.path().join("losertree-gateway.service");
    let program = env!("CARGO_BIN_EXE_losertree-gateway");
    let text = document("ops/losertree-gateway.service").replace("/usr/local/bin/losertree-gateway", program);
    assert!(text.contains(program));
    fs::write(&unit, text).unwrap();
    // 0 is none of the exposures that it knows, 100 is every one: below 20 is what it calls OK.
    for arguments in [&["verify"][..], &["security", "--offline=true", "--threshold=20"]] {
        let output = analyze().args(arguments).arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && !said.contains("Unknown"), "{arguments:?}: {said}");
    }
}

/// Prints what `docs/sizing.md` has: how much memory a gateway takes beside its budget, and in it.
///
/// `cargo test --release -p losertree-prometheus --test operations -- --ignored --nocapture sizing`
#[test]
#[ignore = "prints figures; takes minutes"]
fn sizing() {
    if !has_prometheus() {
        return;
    }
    let all = support::scraped(usize::MAX);
    println!("| series | each has a value of its own | headers | a series | idle |");
    let mut kept = None;
    for (copies, is_unique) in [(1, false), (5, false), (25, false), (25, true), (5, true)] {
        let dir = tempfile::tempdir().unwrap();
        let series: Vec<_> = (0..copies * all.len())
            .map(|number| {
                let (name, labels, value) = &all[number % all.len()];
                let own = if is_unique { number } else { number / all.len() };
                (name.clone(), format!("{labels}pod=\"prometheus-{own:06}\","), *value)
            })
            .collect();
        let data = support::make_blocks(dir.path(), &support::open_metrics(&series, START_MS, 20));
        let gateway = Gateway::start(&data, &[]);
        let totals = &status(gateway.address)["totals"];
        let (series, bytes) = (totals["series"].as_f64().unwrap(), totals["header_bytes"].as_f64().unwrap());
        let idle = peak_bytes(gateway.pid());
        println!("| {series} | {is_unique} | {bytes} | {:.1} | {idle} |", bytes / series);
        gateway.assert_stops_balanced();
        kept = Some((dir, data));
    }
    let (_dir, data) = kept.unwrap();
    println!("| budget, MiB | clients | idle | peak | of it admission | buffers | lists |");
    for (budget, clients) in [(16, 1), (16, 8), (16, 32), (64, 1), (64, 8), (64, 32), (256, 32)] {
        let gateway = Gateway::start(&data, &["--budget-mib", &budget.to_string(), "--concurrency", "32"]);
        let (address, idle) = (gateway.address, peak_bytes(gateway.pid()));
        let asking = (0..clients).map(|_| {
            thread::spawn(move || {
                let query = query(&[("from", 2, ".+")], always());
                read(address, vec![query], ResponseType::StreamedXorChunks).unwrap().0
            })
        });
        for asked in asking.collect::<Vec<_>>() {
            assert_eq!(asked.join().unwrap(), 200);
        }
        let peak = peak_bytes(gateway.pid());
        let state = status(address);
        let pool = |name| {
            let pools = state["pools"].as_array().unwrap().iter();
            pools.clone().find(|pool| pool["pool"] == name).unwrap()["peak_bytes"].as_u64().unwrap()
        };
        let (admission, buffers, lists) = (pool("admission"), pool("buffers"), pool("lists"));
        println!("| {budget} | {clients} | {idle} | {peak} | {admission} | {buffers} | {lists} |");
        assert!(peak - idle < (budget << 20) + (16 << 20), "it is bounded by the budget");
        gateway.assert_stops_balanced();
    }
}
