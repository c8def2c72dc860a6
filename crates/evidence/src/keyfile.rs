//! The file that holds a site's signing key: the only place in this crate that touches a disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::keys::{KeyError, SiteKey};

/// Why a key file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file is there already; a signing key is never written over.
    #[error("saving the signing key to {path}: a file is there already")]
    Exists {
        /// Where the key was to go.
        path: PathBuf,
    },
    /// Others than its owner can read or write the file.
    #[error(
        "loading the signing key from {path}: its mode is {mode:04o}, so others than its owner can \
         reach it; if nobody else has read it, `chmod 600` it, else make a new key"
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file could not be written.
    #[error("saving the signing key to {path}")]
    Save {
        /// The file that was being written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be read.
    #[error("loading the signing key from {path}")]
    Load {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file was read, and holds no signing key.
    #[error("the signing key in {path} cannot be used")]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
}

/// Writes `key` to a new file of mode 0600. The file appears whole or not at all.
///
/// # Errors
/// When a file is there already, or the system refuses.
pub fn save(key: &SiteKey, path: &Path) -> Result<(), KeyFileError> {
    let pem = key.to_pem().map_err(|source| KeyFileError::Key {
        path: path.to_owned(),
        source,
    })?;
    let failed = |path: &Path, source| KeyFileError::Save {
        path: path.to_owned(),
        source,
    };

    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(|source| failed(&unfinished, source))?;
    // A hard link, unlike a rename, never replaces a key that is there.
    let outcome = file
        .write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&unfinished, path));
    let removed = fs::remove_file(&unfinished);
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists {
                path: path.to_owned(),
            });
        }
        Err(source) => return Err(failed(path, source)),
        Ok(()) => removed.map_err(|source| failed(&unfinished, source))?,
    }

    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| failed(directory, source))
}

/// Reads the key that [`save`] wrote, if only its owner can reach it.
///
/// # Errors
/// When others can reach the file, it cannot be read, or it holds no signing key.
pub fn load(path: &Path) -> Result<SiteKey, KeyFileError> {
    let failed = |source| KeyFileError::Load {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that what is checked is what is read.
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut pem = Zeroizing::new(String::new());
    file.read_to_string(&mut pem).map_err(failed)?;
    SiteKey::from_pem(&pem).map_err(|source| KeyFileError::Key {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_kept_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("site.key");
        let key = SiteKey::generate().expect("a key");
        save(&key, &path).expect("saved");
        let mode = fs::metadata(&path).expect("the file").mode() & 0o7777;
        assert_eq!(mode, 0o600);
        assert_eq!(load(&path).expect("loaded").id(), key.id());
        assert_eq!(
            fs::read_dir(directory.path())
                .expect("the directory")
                .count(),
            1
        );

        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let error = load(&path).expect_err("others can reach it");
            assert!(matches!(error, KeyFileError::Exposed { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_key_is_never_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("site.key");
        let first = SiteKey::generate().expect("a key");
        save(&first, &path).expect("saved");
        let second = SiteKey::generate().expect("a key");
        assert!(matches!(
            save(&second, &path),
            Err(KeyFileError::Exists { .. })
        ));
        assert_eq!(load(&path).expect("loaded").id(), first.id());
        assert_eq!(
            fs::read_dir(directory.path())
                .expect("the directory")
                .count(),
            1
        );
    }

    #[test]
    fn a_file_that_is_no_key_says_which() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("site.key");
        assert!(matches!(load(&path), Err(KeyFileError::Load { .. })));
        fs::write(&path, "not a key").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(matches!(load(&path), Err(KeyFileError::Key { .. })));
    }
}
