//! Following what happens, through restarts of the server and broken connections.

use std::{
    collections::VecDeque,
    pin::Pin,
    time::{Duration, Instant},
};

use billet_model::event::SealedRow;
use futures::{Stream, StreamExt as _};
use reqwest::Method;

use crate::{
    Result,
    call::{Repeat, accepted, sending},
    client::Client,
    error::ClientError,
};

/// A server says something every fifteen seconds: what is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(45);

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

/// Events, one after the other.
pub struct Events<'c> {
    client: &'c Client,
    query: Vec<(String, String)>,
    follow: bool,
    /// Behind this event it goes on.
    last: Option<u64>,
    connection: Option<Chunks>,
    text: Vec<u8>,
    ready: VecDeque<SealedRow>,
    away: Option<Instant>,
}

impl Client {
    /// Events that the caller may see: from place `from` of the log on, or from now on. With
    /// `follow` they never end; a connection that breaks is made again, behind the last event that
    /// was seen.
    pub fn events(&self, filters: &[(&str, &str)], from: Option<u64>, follow: bool) -> Events<'_> {
        let mut query: Vec<(String, String)> = filters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        query.push(("follow".to_owned(), follow.to_string()));
        Events {
            client: self,
            query,
            follow,
            // What came before place 0 is nothing.
            last: from.and_then(|from| from.checked_sub(1)),
            connection: None,
            text: Vec::new(),
            ready: VecDeque::new(),
            away: None,
        }
        .beginning(from)
    }
}

impl Events<'_> {
    fn beginning(mut self, from: Option<u64>) -> Self {
        if from == Some(0) {
            self.query.push(("from".to_owned(), "0".to_owned()));
        }
        self
    }

    /// The next event, when there is one; `None` at the end, where it does not follow.
    ///
    /// # Errors
    /// As every call; when the server stayed away as long as patience says.
    pub async fn next(&mut self) -> Result<Option<SealedRow>> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Ok(Some(row));
            }
            let read = match &mut self.connection {
                Some(chunks) => tokio::time::timeout(SILENCE, chunks.next()).await,
                None => {
                    self.connect().await?;
                    continue;
                }
            };
            match read {
                Ok(Some(Ok(bytes))) => {
                    self.away = None;
                    self.text.extend_from_slice(&bytes);
                    self.parse()?;
                }
                Ok(None) if !self.follow => return Ok(None),
                // It ended, broke or went silent: what was not whole comes again.
                Ok(None | Some(Err(_))) | Err(_) => {
                    self.connection = None;
                    self.text.clear();
                    self.away.get_or_insert_with(Instant::now);
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let mut url = self.client.base.clone();
        url.set_path("/v1/events");
        let mut request = self.client.http.request(Method::GET, url);
        request = request.query(&self.query);
        if let Some(token) = &self.client.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(last) = self.last {
            request = request.header("Last-Event-ID", last.to_string());
        }
        let asked = "GET /v1/events";
        let failure = match request.send().await {
            Ok(response) => match accepted(response, asked).await {
                Ok(response) => {
                    self.connection = Some(response.bytes_stream().boxed());
                    return Ok(());
                }
                Err(failure) => failure,
            },
            Err(error) => sending(self.client, asked, &error),
        };
        let since = *self.away.get_or_insert_with(Instant::now);
        let gone = since.elapsed() > self.client.patience.follow;
        if failure.repeat == Repeat::Never || gone {
            return Err(failure.error);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Takes whole events out of the text: each ends with an empty line.
    fn parse(&mut self) -> Result<()> {
        while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.text.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            // It is read, so it will be handed out before anything is asked for again.
            let id = event.lines().find_map(|line| line.strip_prefix("id:"));
            if let Some(id) = id.and_then(|id| id.trim().parse().ok()) {
                self.last = Some(id);
            }
            let data: String = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect::<Vec<_>>()
                .join("\n");
            if data.is_empty() {
                continue;
            }
            let row = serde_json::from_str(&data).map_err(|error| ClientError::Malformed {
                asked: "GET /v1/events".to_owned(),
                detail: error.to_string(),
            })?;
            self.ready.push_back(row);
        }
        Ok(())
    }
}
