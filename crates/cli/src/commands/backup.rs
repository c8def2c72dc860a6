//! Backup and restore of the database.

use std::path::{Path, PathBuf};

use billet_model::api::BackupMade;
use billet_store::{Store, StoreUrl};
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

/// Restore a backup into a data directory.
///
/// Older data is brought up to date. A backup knows what was so when it was made, so every machine
/// is held afterwards: nothing is powered off or erased until you have looked at it and said
/// `billet machine confirm`. Nothing is written over: an existing database is refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet restore /mnt/backup/billet-monday.db --data /var/lib/billet
  billet serve --data /var/lib/billet
  billet machine confirm r1-u07")]
pub struct Restore {
    /// The backup.
    file: PathBuf,
    /// The data directory to restore into.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

impl Restore {
    /// Restores it.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let (file, data) = (&self.file, &self.data);
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
                (
                    "held",
                    format!(
                        "{}, until you look at each and say `billet machine confirm`",
                        human::count(usize::try_from(machines).unwrap_or(usize::MAX), "machine")
                    ),
                ),
            ])
        })
    }
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
