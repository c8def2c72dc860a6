//! Records, read off the thread that must not wait.

use billet_console::{Reader, Record, Recorder};

use crate::problem::Failure;

/// Records read at a time.
const RECORDS: usize = 64;

/// Reads a recording from a place on.
pub(super) struct Feed {
    reader: Option<Reader>,
}

impl Feed {
    pub fn at(recorder: &Recorder, offset: u64) -> Self {
        Self {
            reader: Some(Reader::at(recorder, offset)),
        }
    }

    /// What comes next; nothing where there is nothing yet.
    pub async fn next(&mut self) -> Result<Vec<Record>, Failure> {
        let Some(mut reader) = self.reader.take() else {
            return Err(Failure::internal("reading a recording", &"it was given up"));
        };
        let read = tokio::task::spawn_blocking(move || {
            let mut records = Vec::new();
            let mut bytes = 0;
            let ended = loop {
                match reader.read() {
                    Ok(Some(record)) => {
                        bytes += record.places();
                        records.push(record);
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
                if records.len() >= RECORDS || bytes >= 256 * 1024 {
                    break Ok(());
                }
            };
            (reader, records, ended)
        });
        let (reader, records, ended) = read
            .await
            .map_err(|e| Failure::internal("reading a recording", &e))?;
        self.reader = Some(reader);
        match ended {
            Err(error) if records.is_empty() => {
                Err(Failure::internal("reading a recording", &error))
            }
            _ => Ok(records),
        }
    }
}
