//! An answer that comes before the request's body is whole must reach a caller who still sends.
//!
//! Where nobody holds the body any more, the connection is cut at once, over HTTP/1.1 as it is
//! closed with bytes unread, over HTTP/2 by `RST_STREAM`. The answer has been sent by then, and
//! that is all that the standards ask for; but callers who meet both at the same moment throw the
//! answer away (curl 7.88 over HTTP/2 always does), and are left with a broken stream in place of
//! a 413. So the rest of a body that was left is kept for a moment, a little of it is read into
//! nothing, and whoever reads as it sends has its answer and stops.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
};
use futures::StreamExt as _;
use http_body::{Frame, SizeHint};

/// For how long a body that was left is kept.
const KEPT: Duration = Duration::from_secs(5);
/// What is read of it meanwhile, in bytes: what may be on its way (HTTP/2's window is as large).
/// What comes after that waits at the caller.
const READ: usize = 1024 * 1024;

/// The request, whose body is kept for a moment where it is left before its end.
pub(crate) fn lingering(request: Request) -> Request {
    request.map(|body| {
        if body.is_end_stream() {
            body
        } else {
            Body::new(Lingering { body })
        }
    })
}

struct Lingering {
    /// Empty once it has come to its end, or broken off.
    body: Body,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = Body::empty();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let body = std::mem::take(&mut self.body);
        if body.is_end_stream() {
            return;
        }
        // Where the runtime is going down, connections are cut anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(keep(body, tokio::time::sleep(KEPT)));
        }
    }
}

/// Keeps a body until then, and reads a little of it into nothing. One that ends or breaks off is
/// not waited for.
async fn keep(body: Body, until: impl Future<Output = ()>) {
    let mut rest = body.into_data_stream();
    let reading = async {
        let mut left = READ;
        while let Some(Ok(piece)) = rest.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = until => {}
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    const PIECE: usize = 64 * 1024;

    #[tokio::test]
    async fn a_body_that_was_left_is_kept_and_read_a_little() {
        let (taking, mut taken) = mpsc::unbounded_channel();
        let endless = stream::repeat_with(move || {
            let _ = taking.send(());
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; PIECE]))
        });
        let (end, ended) = oneshot::channel();
        let until = async { ended.await.expect("told") };
        let kept = tokio::spawn(keep(Body::from_stream(endless), until));
        for _ in 0..READ / PIECE {
            taken.recv().await.expect("it is read");
        }
        assert!(!kept.is_finished());
        end.send(()).expect("it is still kept");
        kept.await.expect("it ends");
        assert_eq!(
            taken.recv().await,
            None,
            "no more was read, and it is let go"
        );
    }

    #[tokio::test]
    async fn a_body_that_ends_or_was_read_whole_is_not_kept() {
        let all = || Body::from_stream(stream::iter([Ok::<_, std::io::Error>("all")]));
        keep(all(), std::future::pending()).await;
        let request = lingering(Request::new(all()));
        let read = axum::body::to_bytes(request.into_body(), 10).await;
        assert_eq!(read.expect("read"), "all");
        let runtime = tokio::runtime::Handle::current();
        assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    }
}
