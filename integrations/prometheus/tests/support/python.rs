//! Python with grpcio, and code that its compiler has made of the files in `proto`.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// What is installed, if it is not there. The newest versions: a client that is out of date is not what is to be shown.
const PACKAGES: [&str; 2] = ["grpcio", "grpcio-tools"];

/// Python, and where the code is that was made. `None` where there is no grpcio, which is said loudly; in CI it is installed, and a
/// failure if it cannot be.
///
/// `GRPC_PYTHON` can name one that has it.
pub fn python() -> Option<&'static (PathBuf, PathBuf)> {
    static MADE: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    MADE.get_or_init(|| {
        let Some(python) = with_grpc() else {
            eprintln!(
                "NOT TESTED: there is no Python with grpcio and grpcio-tools; set CI=1 to have them installed, or GRPC_PYTHON to one \
                 that has them"
            );
            return None;
        };
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc");
        std::fs::create_dir_all(&made).unwrap();
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let files = [
            "store/labelpb/types.proto",
            "store/storepb/prompb/types.proto",
            "store/storepb/types.proto",
            "store/storepb/rpc.proto",
            "info/infopb/rpc.proto",
        ];
        let made_by = |option: &str| format!("--{option}={}", made.display());
        run(Command::new(&python)
            .args(["-m", "grpc_tools.protoc", &format!("-I{}", proto.display())])
            .args([made_by("python_out"), made_by("grpc_python_out")])
            .args(files));
        Some((python, made))
    })
    .as_ref()
}

fn with_grpc() -> Option<PathBuf> {
    let has = |python: &Path| {
        let output = Command::new(python).args(["-c", "import grpc, grpc_tools.protoc"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let installed = environment.join("bin/python");
    let given = std::env::var_os("GRPC_PYTHON").map(PathBuf::from);
    let found = given.into_iter().chain([installed.clone(), "python3".into()]).find(|python| has(python));
    if found.is_none() && std::env::var_os("CI").is_some() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment));
        run(Command::new(&installed).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES));
        assert!(has(&installed), "grpcio and grpcio-tools are installed");
        return Some(installed);
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// A client that runs.
pub struct Client {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub fn start() -> Option<Self> {
        let (python, made) = python()?;
        let mut child = Command::new(python)
            .arg(script("client.py"))
            .env("PYTHONPATH", made)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, requests, answers })
    }

    /// Has it send a request, and returns what it has received.
    pub fn ask(&mut self, asked: &serde_json::Value) -> serde_json::Value {
        writeln!(self.requests, "{asked}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that runs.
pub struct Server {
    child: Child,
    pub url: String,
}

impl Server {
    pub fn start(fault: &str) -> Option<Self> {
        let (python, made) = python()?;
        let mut child = Command::new(python)
            .arg(script("server.py"))
            .arg(fault)
            .env("PYTHONPATH", made)
            .stdout(Stdio::piped())
            // It prints what it is told to raise.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        Some(Self { child, url: format!("http://127.0.0.1:{port}") })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
