//! A real browser: headless Chromium, driven by the protocol of `chromedriver`, which is HTTP and JSON.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::send;

/// Whether there is a browser. If not, says loudly that a test does nothing; in CI that is a failure.
pub fn has_browser() -> bool {
    let has = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let all = has("chromedriver") && has("chromium");
    if !all {
        assert!(std::env::var_os("CI").is_none(), "chromium and chromedriver are not installed");
        eprintln!("NOT TESTED: there is no browser; on Debian: apt-get install chromium chromium-driver");
    }
    all
}

/// A browser that runs.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    pub fn start() -> Self {
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = loop {
            let line = lines.next().expect("chromedriver starts").unwrap();
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        // Nobody is kept from writing on.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let mut browser =
            Self { driver, address: SocketAddr::from(([127, 0, 0, 1], port)), session: String::new() };
        // Tests run as root in containers, where the sandbox of Chromium does not.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let created = browser.call(
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"args": arguments},
            }}}),
        );
        browser.session = format!("/session/{}", created["sessionId"].as_str().unwrap());
        browser
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let headers = [("Content-Type", "application/json")];
        let (status, answer) =
            send(self.address, "POST", path, &headers, body.to_string().as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer["value"].clone()
    }

    /// Loads a page.
    pub fn load(&self, url: &str) {
        self.call(&format!("{}/url", self.session), &json!({"url": url}));
    }

    /// What a script returns, which may be a promise.
    pub fn run(&self, script: &str) -> Value {
        self.call(&format!("{}/execute/sync", self.session), &json!({"script": script, "args": []}))
    }

    /// A text of the page.
    pub fn text(&self, selector: &str) -> Option<String> {
        let text = self.run(&format!("return document.querySelector({})?.textContent", json!(selector)));
        text.as_str().map(Into::into)
    }

    /// Waits until something is so on the page, and returns what it is then.
    pub fn wait<T>(&self, what: &str, mut is_so: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = is_so(self) {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "in a minute there was not: {what}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has it look like another one: how wide, and with which theme.
    pub fn look_like(&self, width: u32, is_phone: bool, theme: &str) {
        let command = |name: &str, parameters: Value| {
            let body = json!({"cmd": name, "params": parameters});
            self.call(&format!("{}/goog/cdp/execute", self.session), &body);
        };
        command(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": is_phone}),
        );
        command(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": theme}]}),
        );
    }

    /// What it has complained of.
    pub fn complaints(&self) -> Vec<Value> {
        let log = self.call(&format!("{}/se/log", self.session), &json!({"type": "browser"}));
        log.as_array().unwrap().clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser goes with its session.
        let _ = send(self.address, "DELETE", &self.session, &[], b"");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
