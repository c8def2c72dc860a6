//! Backup and restore of the database.

use std::path::{Path, PathBuf};

use billet_model::{Secret, api::BackupMade};
use billet_store::{Store, StoreError, StoreUrl};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    app::App,
    failure::{Code, Failure, chain},
    human,
    output::card,
};

/// The database's name in the data directory.
const DATABASE: &str = "billet.db";

/// Back up the database, while it is in use.
///
/// With a data directory, on the machine that has it: the copy goes where --out says. Without one,
/// the server is asked to make it, in its own data directory's `backups`. Keys, images and the
/// authority's certificate are not in it: keep the keys' directory, `images` and `authority.pem`
/// as well, and the keys apart from the rest.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet backup
  billet backup /var/lib/billet --out /mnt/backup/billet-monday.db")]
pub struct Backup {
    /// The data directory, as given to `billet serve`.
    data: Option<PathBuf>,
    /// The file to write; billet-TIME.db here where absent.
    #[arg(long, value_name = "FILE", requires = "data")]
    out: Option<PathBuf>,
}

impl Backup {
    /// Makes it.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let made = match self.data {
            None => app.client().await?.backup().await?,
            Some(data) => local(&data, self.out).await?,
        };
        app.output.result(&made, |made| {
            card([
                ("backup", made.path.clone()),
                ("size", human::bytes(made.bytes)),
            ])
        })
    }
}

async fn local(data: &Path, out: Option<PathBuf>) -> Result<BackupMade, Failure> {
    let path = data.join(DATABASE);
    if !path.exists() {
        let failure = Failure::new(Code::NotFound, format!("there is no {}", path.display()));
        return Err(failure.hint("give the data directory that `billet serve` was given"));
    }
    let at = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let out = out.unwrap_or_else(|| PathBuf::from(format!("billet-{at}.db")));
    let failed = |error: &dyn std::error::Error| Failure::failed(chain(error));
    let store = Store::open(&StoreUrl::Sqlite { path })
        .await
        .map_err(|error| failed(&error))?;
    store.backup(&out).await.map_err(|error| failed(&error))?;
    store.close().await;
    let bytes = std::fs::metadata(&out)
        .map_err(|error| Failure::file("looking at", &out, &error))?
        .len();
    Ok(BackupMade {
        path: out.display().to_string(),
        bytes,
    })
}

/// Restore a backup into a data directory, or hold what PostgreSQL's own tools restored.
///
/// Older data is brought up to date. A backup knows what was so when it was made, so every machine
/// is held afterwards: nothing is powered off or erased until you have looked at it and said
/// `billet machine confirm`. Nothing is written over: an existing database is refused.
///
/// A database in PostgreSQL is put back with PostgreSQL's own tools, by pg_restore or to a point in
/// time, and --mark does the rest: it must be said before a server is started on that database, with
/// none at work on it, or machines are worked on as they were when the backup was made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet restore /mnt/backup/billet-monday.db --data /var/lib/billet
  billet serve --data /var/lib/billet
  billet machine confirm r1-u07
  billet restore --mark --database postgres://billet@db.example.org/billet")]
pub struct Restore {
    /// The backup.
    #[arg(required_unless_present = "mark", requires = "data")]
    file: Option<PathBuf>,
    /// The data directory to restore into.
    #[arg(long, value_name = "DIR", requires = "file")]
    data: Option<PathBuf>,
    /// Hold every machine of a database that was put back already.
    #[arg(long, conflicts_with_all = ["file", "data"], requires = "database")]
    mark: bool,
    /// That database, as given to `billet serve`: postgres://USER:PASSWORD@HOST/NAME.
    #[arg(long, value_name = "URL", env = "BILLET_DATABASE", hide_env_values = true, value_parser = super::serve::secret)]
    database: Option<Secret>,
}

impl Restore {
    /// Restores it.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        match (self.file, self.data, self.database) {
            (Some(file), Some(data), _) => restore(app, &file, &data).await,
            (_, _, Some(url)) => mark(app, &url).await,
            _ => Err(Failure::usage("give a backup and --data, or --mark")),
        }
    }
}

/// Holds every machine of a database that was put back by other means.
async fn mark(app: &App, url: &Secret) -> Result<(), Failure> {
    let failed = |error: StoreError| {
        let failure = Failure::failed(chain(&error));
        match error {
            StoreError::Conflict { .. } => failure
                .hint("a server is at work on this database: stop every one, and say it again"),
            _ => failure,
        }
    };
    let url = StoreUrl::Postgres {
        url: url.expose().to_owned(),
    };
    let store = Store::open(&url).await.map_err(failed)?;
    let machines = store
        .mark_restored(Timestamp::now())
        .await
        .map_err(failed)?;
    store.close().await;
    if machines == 0 {
        app.output
            .note("There is no machine in it: is it the database that was put back?");
    }
    app.output.result(&json!({ "machines": machines }), |_| {
        card([("held", held(machines))])
    })
}

fn held(machines: u64) -> String {
    format!(
        "{}, until you look at each and say `billet machine confirm`",
        human::count(usize::try_from(machines).unwrap_or(usize::MAX), "machine")
    )
}

async fn restore(app: &App, file: &Path, data: &Path) -> Result<(), Failure> {
    is_database(file)?;
    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
        .create(data)
        .map_err(|error| Failure::file("making the directory", data, &error))?;
    // What SQLite keeps beside an old database would be taken for the new one's.
    for name in ["", "-wal", "-shm"] {
        let there = data.join(format!("{DATABASE}{name}"));
        if there.exists() {
            return Err(Failure::new(
                Code::Refused,
                format!("{} is there already", there.display()),
            )
            .hint("stop `billet serve`, and move the old database away"));
        }
    }
    // Under another name until every machine is held: a start half-way finds nothing.
    let aside = tempfile::Builder::new()
        .prefix("restore-")
        .tempdir_in(data)
        .map_err(|error| Failure::file("making a directory in", data, &error))?;
    let path = aside.path().join(DATABASE);
    std::fs::copy(file, &path).map_err(|error| Failure::file("copying", file, &error))?;
    let failed = |error: &dyn std::error::Error| {
        Failure::failed(format!("{}: {}", file.display(), chain(error)))
    };
    let store = Store::open(&StoreUrl::Sqlite { path: path.clone() })
        .await
        .map_err(|error| failed(&error))?;
    let machines = store
        .mark_restored(Timestamp::now())
        .await
        .map_err(|error| failed(&error))?;
    store.close().await;
    let left = aside.path().join(format!("{DATABASE}-wal"));
    if std::fs::metadata(&left).is_ok_and(|meta| meta.len() > 0) {
        return Err(Failure::failed(format!(
            "the restored database did not close: {} is left",
            left.display()
        )));
    }
    let to = data.join(DATABASE);
    std::fs::File::open(&path)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&path, &to))
        .and_then(|()| std::fs::File::open(data))
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Failure::file("putting in place", &to, &error))?;

    if !data.join("authority.pem").exists() {
        app.output.note("authority.pem is not in a backup: put the old data directory's beside the database, or the server makes a new authority, and everyone signs in anew.");
    }
    if !data.join("images").exists() {
        app.output.note("images are not in a backup: put the old data directory's `images` beside the database, or add them again.");
    }
    let said = json!({ "database": to, "machines": machines });
    app.output.result(&said, |_| {
        card([
            ("restored", to.display().to_string()),
            ("held", held(machines)),
        ])
    })
}

fn is_database(file: &Path) -> Result<(), Failure> {
    use std::io::Read;
    let mut head = [0; 16];
    let read = std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) if &head == b"SQLite format 3\0" => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Err(Failure::unreadable(file, &error))
        }
        _ => Err(Failure::usage(format!(
            "{} is not a backup that `billet backup` made",
            file.display()
        ))),
    }
}
