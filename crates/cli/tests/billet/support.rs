//! Running the program in a home of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use tokio::{io::AsyncWriteExt, process::Command};

/// What a run of the program came to.
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

    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts that it ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(
            self.code, 0,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).expect("stdout is JSON")
    }
}

/// A directory with nothing of the caller's own.
pub struct Home {
    directory: tempfile::TempDir,
    /// The environment's variables.
    pub variables: Vec<(String, String)>,
}

impl Home {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            variables: Vec::new(),
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

    /// Where configuration is kept.
    pub fn config(&self) -> PathBuf {
        self.path("config/billet/config.toml")
    }

    /// The program with this home and no other environment, to be run in it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_billet"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the program.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().await.expect("it runs"))
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
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
