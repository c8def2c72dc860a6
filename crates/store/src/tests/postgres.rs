//! A PostgreSQL server of the tests' own: in a temporary folder, on a socket
//! there, as a user that is not root, stopped by its process when dropped.

use std::{
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) struct Server {
    process: Child,
    bin: PathBuf,
    folder: tempfile::TempDir,
    /// By which it is told apart on a socket too.
    port: u16,
}

/// Of a server that is reached by its socket alone.
const PORT: u16 = 5432;

/// Where Debian puts the server's programs; the newest version.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("postgres").exists().then_some((version, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// PostgreSQL refuses to run as root: the user that it runs as instead.
pub(crate) fn other_user() -> Option<(u32, u32)> {
    if output(Command::new("id").arg("-u")) != "0" {
        return None;
    }
    let id = |flag: &str| {
        output(Command::new("id").args([flag, "postgres"]))
            .parse()
            .expect("the user postgres exists")
    };
    Some((id("-u"), id("-g")))
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("a program of the system runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn as_user(user: Option<(u32, u32)>, program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        use std::os::unix::process::CommandExt;
        command.uid(uid).gid(gid);
    }
    command
}

impl Server {
    /// Starts one, or says that there is none to start.
    pub fn start() -> Option<Self> {
        Self::start_on(None)
    }

    /// The same, to be reached at a port of the loopback as well.
    pub fn start_on(tcp: Option<u16>) -> Option<Self> {
        let Some(bin) = programs() else {
            let missing = "PostgreSQL is not installed (Debian's package `postgresql`): \
                           its half of the suite did not run";
            assert!(
                std::env::var_os("BILLET_REQUIRE_POSTGRES").is_none_or(|v| v != "1"),
                "{missing}"
            );
            #[allow(clippy::print_stderr, reason = "a test says what it left out")]
            {
                eprintln!("SKIPPED: {missing}");
            }
            return None;
        };
        let user = other_user();
        let folder = tempfile::tempdir().expect("a temporary folder");
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("the folder is given away");
        }
        let data = folder.path().join("data");
        let made = as_user(user, &bin.join("initdb"))
            .current_dir(folder.path())
            .arg("--pgdata")
            .arg(&data)
            .args([
                "--auth=trust",
                "--username=billet",
                "--no-sync",
                "--encoding=UTF8",
            ])
            .output()
            .expect("initdb runs");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let process = as_user(user, &bin.join("postgres"))
            .current_dir(folder.path())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "fsync=off", "-c"])
            .arg(match tcp {
                Some(_) => "listen_addresses=127.0.0.1",
                None => "listen_addresses=",
            })
            .arg("-p")
            .arg(tcp.unwrap_or(PORT).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let server = Self {
            process,
            bin,
            folder,
            port: tcp.unwrap_or(PORT),
        };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let ready = Command::new(self.bin.join("pg_isready"))
                .arg("-h")
                .arg(self.folder.path())
                .args(["-p", &self.port.to_string(), "-U", "billet", "-q"])
                .status()
                .expect("pg_isready runs");
            if ready.success() {
                return;
            }
            let log = || std::fs::read_to_string(self.folder.path().join("log"));
            assert!(
                Instant::now() < until,
                "PostgreSQL did not start: {:?}",
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The URL of a new, empty database.
    pub fn database(&self, name: &str) -> String {
        let socket = self.folder.path().display();
        self.run("createdb", &[name]);
        format!("postgres://billet@localhost/{name}?host={socket}")
    }

    /// The URL of a new database that is put back from a dump of another.
    pub fn copy(&self, of: &str, name: &str) -> String {
        let url = self.database(name);
        let dump = self.folder.path().join(format!("{of}.dump"));
        let dump = dump.to_str().expect("UTF-8");
        self.run("pg_dump", &["--format=custom", "--file", dump, of]);
        self.run("pg_restore", &["--dbname", name, dump]);
        url
    }

    /// Runs one of PostgreSQL's own programs on it.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        let ran = Command::new(self.bin.join(program))
            .arg("-h")
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string(), "-U", "billet"])
            .args(arguments)
            .output()
            .expect("a program of PostgreSQL's runs");
        assert!(
            ran.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is its fast shutdown: it ends its own children.
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").args(["-INT", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
