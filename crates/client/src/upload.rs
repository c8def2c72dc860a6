//! Sending a file without holding it in memory.

use std::path::Path;

use bytes::Bytes;
use futures::stream;
use tokio::io::AsyncReadExt;

use crate::error::ClientError;

/// Bytes read from the file at a time.
const PIECE: usize = 256 * 1024;

/// A file as a body, with its length in bytes. `tell` hears how many bytes were handed to the
/// connection so far.
pub(crate) async fn body(
    path: &Path,
    tell: impl FnMut(u64) + Send + 'static,
) -> Result<(reqwest::Body, u64), ClientError> {
    let trouble = |doing| {
        move |source| ClientError::File {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    let file = tokio::fs::File::open(path)
        .await
        .map_err(trouble("opening"))?;
    let length = file.metadata().await.map_err(trouble("reading"))?.len();
    // A file that grows while it is sent would break the announced length.
    let reader = file.take(length);
    let pieces = stream::try_unfold(
        (reader, tell, 0),
        |(mut reader, mut tell, sent)| async move {
            let mut piece = vec![0; PIECE];
            let read = reader.read(&mut piece).await?;
            if read == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            piece.truncate(read);
            let sent = sent + read as u64;
            tell(sent);
            Ok(Some((Bytes::from(piece), (reader, tell, sent))))
        },
    );
    Ok((reqwest::Body::wrap_stream(pieces), length))
}
