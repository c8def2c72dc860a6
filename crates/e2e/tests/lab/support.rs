//! Running the program: in a home of its own, beside the test, and asked for JSON.
//!
//! What these tests are given comes from the environment, as the Makefile sets it: the program in
//! `BILLET_BIN`, and for machines in QEMU also `BILLET_TEST_QEMU=1`, a ramdisk in `BILLET_RAMDISK`
//! and an image in `BILLET_IMAGE`. Where something is absent, a test says what it skips, and why.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

/// A file that a variable names; where it is absent, says that `what` is skipped.
pub fn given(variable: &str, what: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).filter(|value| !value.is_empty());
    let Some(path) = path.map(PathBuf::from) else {
        say(&format!("skipped: {what}: {variable} is not set"));
        return None;
    };
    // The program is run in other directories than this.
    let found = fs::canonicalize(&path);
    Some(found.unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display())))
}

/// A line for whoever reads the test's output.
#[expect(clippy::print_stderr, reason = "tests speak to people here")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Asserts that it ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        self.coded(0)
    }

    /// Asserts that it ended with this exit code.
    #[track_caller]
    pub fn coded(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    /// Asserts that it said so on stderr.
    #[track_caller]
    pub fn said(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "wanted: {text}\nstderr: {}",
            self.stderr
        );
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("stdout is JSON")
    }
}

/// A directory with nothing of the caller's own, and the program to run in it.
pub struct Home {
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Home {
    /// An empty one.
    pub fn new(program: PathBuf) -> Self {
        let directory = tempfile::Builder::new().prefix("billet-e2e-").tempdir();
        Self {
            program,
            directory: directory.expect("a directory"),
        }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, content).expect("written");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the program.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().await.expect("it runs"))
    }

    /// Runs the program with this token in the place of the one that is kept.
    pub async fn run_as(&self, token: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env("BILLET_TOKEN", token);
        Ran::of(command.output().await.expect("it runs"))
    }

    /// Runs the program with something on its stdin.
    pub async fn run_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        // It may end without having read it.
        let _ = pipe.write_all(stdin.as_bytes()).await;
        drop(pipe);
        Ran::of(child.wait_with_output().await.expect("it ends"))
    }

    /// Starts the program beside the test; its output goes to `NAME.out` and `NAME.err`.
    pub fn start(&self, arguments: &[&str], name: &str) -> Beside {
        let log = |kind: &str| {
            let file = fs::File::options()
                .create(true)
                .append(true)
                .open(self.path(&format!("{name}.{kind}")));
            Stdio::from(file.expect("a file"))
        };
        let child = self
            .command(arguments)
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn()
            .expect("it runs");
        Beside { child }
    }

    /// The JSON that a program beside the test prints once it is up.
    pub async fn told(&self, name: &str, beside: &mut Beside) -> Value {
        let path = self.path(&format!("{name}.out"));
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if let Ok(json) = serde_json::from_str(&text) {
                return json;
            }
            if let Some(status) = beside.ended() {
                let log = fs::read_to_string(self.path(&format!("{name}.err")));
                panic!(
                    "{name} ended at once, {status}: {}",
                    log.unwrap_or_default()
                );
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{name} does not come up: {text}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The end of a log, for a failure's message.
    pub fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A program that runs beside the test, and is killed with it.
pub struct Beside {
    child: Child,
}

impl Beside {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Its exit status, where it ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state")
    }

    /// Asks it to end, and waits until it did so well.
    pub async fn stop(mut self) {
        let id = self.id().to_string();
        let asked = Command::new("kill").arg(&id).status().await;
        assert!(asked.expect("kill runs").success());
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait());
        let status = ended.await.expect("it ends in time").expect("it ends");
        assert!(status.success(), "{status}");
    }

    /// Kills it with SIGKILL, wherever it is.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The items of a list in JSON.
#[track_caller]
pub fn items(json: &Value) -> &Vec<Value> {
    json["items"].as_array().expect("a list")
}

/// A text in JSON.
#[track_caller]
pub fn word(json: &Value) -> &str {
    json.as_str().unwrap_or_else(|| panic!("a text: {json}"))
}
