//! Walking a BMC's tree with a notebook: what fails is written down, not thrown.

use std::sync::{Mutex, PoisonError};

use crate::error::BmcError;
use crate::expand::Depth;
use crate::read::Reader;
use crate::service::Service;
use crate::value::Resource;
use crate::vendors::Quirks;

/// The most notes kept: a BMC that gets everything wrong must not fill a disk.
const MOST_NOTES: usize = 200;

/// One discovery under way.
pub(crate) struct Walk<'a> {
    pub reader: Reader<'a>,
    pub quirks: &'static Quirks,
    notes: Mutex<Vec<String>>,
}

impl<'a> Walk<'a> {
    pub fn new(reader: Reader<'a>, quirks: &'static Quirks) -> Self {
        Self {
            reader,
            quirks,
            notes: Mutex::default(),
        }
    }

    pub fn service(&self) -> &'a Service {
        self.reader.service
    }

    /// Writes down what was missing or odd.
    pub fn note(&self, note: impl Into<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let note = note.into();
        if notes.len() < MOST_NOTES && !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// The notes, in an order that does not depend on which answer came first.
    pub fn into_notes(self) -> Vec<String> {
        let mut notes = self
            .notes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        notes.sort();
        notes
    }

    fn failed(&self, error: &BmcError) {
        self.note(error.to_string());
    }

    /// What a link leads to. No link is nothing; a link that fails is a note.
    pub async fn resource(&self, link: Option<String>) -> Option<Resource> {
        let read = self.reader.read(&link?).await;
        read.inspect_err(|e| self.failed(e)).ok()
    }

    /// The members of the collection that a link leads to, those that can be read.
    pub async fn collection(&self, link: Option<String>) -> Vec<Resource> {
        self.collection_with(link, Depth::Members).await
    }

    /// The same, where what stands inside of the members is read next.
    pub async fn tree(&self, link: Option<String>) -> Vec<Resource> {
        self.collection_with(link, Depth::Inside).await
    }

    async fn collection_with(&self, link: Option<String>, depth: Depth) -> Vec<Resource> {
        let Some(path) = link else { return Vec::new() };
        match self.reader.members_with(&path, depth).await {
            Err(error) => {
                self.failed(&error);
                Vec::new()
            }
            Ok(members) => members
                .into_iter()
                .filter_map(|m| m.inspect_err(|e| self.failed(e)).ok())
                .collect(),
        }
    }

    /// What all these links lead to, read side by side.
    pub async fn all(&self, links: Vec<String>) -> Vec<Resource> {
        self.all_with(links, Depth::Members).await
    }

    /// The same, where what stands inside of them is read next.
    pub async fn trees(&self, links: Vec<String>) -> Vec<Resource> {
        self.all_with(links, Depth::Inside).await
    }

    async fn all_with(&self, links: Vec<String>, depth: Depth) -> Vec<Resource> {
        self.reader.ahead(&links, depth).await;
        let reads = links.into_iter().map(|l| self.resource(Some(l)));
        let read = futures::future::join_all(reads).await;
        read.into_iter().flatten().collect()
    }
}
