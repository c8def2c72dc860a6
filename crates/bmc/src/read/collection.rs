//! Collections: their members in one answer where the BMC can, one by one where it
//! cannot, over however many pages; and what is no member costs only itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures::future::join_all;
use reqwest::Method;
use serde_json::Value;

use super::{MOST_BYTES, Reader, parsed};
use crate::error::BmcError;
use crate::expand::{self, Depth};
use crate::http::{Call, Lost};
use crate::link;
use crate::value::{Resource, text};

/// The most pages and members that one collection is believed to have.
const MOST_PAGES: usize = 50;
const MOST_MEMBERS: usize = 2000;

/// A member that could be read, or why not.
pub(crate) type Member = Result<Resource, BmcError>;

impl Reader<'_> {
    /// Reads what several links lead to at once, where they lead into one
    /// collection and the BMC gives it whole: what is read of them later is there.
    pub async fn ahead(&self, links: &[String], depth: Depth) {
        /// Fewer are read as quickly one by one.
        const WORTH_IT: usize = 4;
        let mut parents: BTreeMap<String, usize> = BTreeMap::new();
        for link in links.iter().filter(|l| self.kept(l).is_none()) {
            if let Some(parent) = link::parent(link) {
                *parents.entry(parent).or_default() += 1;
            }
        }
        for (parent, _) in parents.into_iter().filter(|(_, n)| *n >= WORTH_IT) {
            if let Some(collection) = self.with_members(&parent, depth).await {
                let (at, pages) = (collection.path.clone(), next_page(&collection).is_some());
                let Ok(members) = members_of(collection) else {
                    continue;
                };
                let mut links = Vec::with_capacity(members.len());
                let all = members.len();
                for member in members {
                    let path = link::target(&at, &member);
                    if let Some(path) = path.filter(|_| is_whole(&member)) {
                        links.push(serde_json::json!({ "@odata.id": path }));
                        self.keep_member(path, member);
                    }
                }
                // Whoever asks for the collection next finds its members, too.
                if links.len() == all && !pages {
                    self.keep_member(at, serde_json::json!({ "Members": links }));
                }
            }
        }
    }

    /// A member that came whole, kept like one that was read.
    fn keep_member(&self, path: String, member: Value) -> Resource {
        let resource = Resource {
            path,
            etag: text(&member, "/@odata.etag"),
            body: Arc::new(member),
        };
        // Not seen: the BMC was not asked for it, and some want to be before what is below.
        self.keep(&resource);
        resource
    }

    /// A collection with its members in it; `None` where that cannot be had, and
    /// it is to be read in the ordinary way.
    async fn with_members(&self, path: &str, mut depth: Depth) -> Option<Resource> {
        let expand = &self.service.root().await.ok()?.expand;
        if self.kept.is_none() {
            // What stands inside of members is of use to who keeps it.
            depth = Depth::Members;
        }
        while let Some((asked, levels)) = expand.of(path, depth) {
            match self.expanded(path, &asked).await {
                Expanded::Whole(mut read) => {
                    self.see(path);
                    if levels > 1 {
                        self.unfold(&mut read);
                    }
                    return Some(read);
                }
                // It may be one thing deep inside that is not there.
                Expanded::NotThis if levels > 1 => depth = Depth::Members,
                Expanded::Cannot if expand.failed(levels) => {}
                Expanded::Cannot => {
                    self.service.http.expect_small();
                    return None;
                }
                Expanded::NotThis | Expanded::NotNow => return None,
            }
        }
        None
    }

    /// Asks for a collection with what is in it.
    async fn expanded(&self, path: &str, asked: &str) -> Expanded {
        let http = &self.service.http;
        let mut timeout = http.timeouts.read.min(expand::PATIENCE);
        if let Some(deadline) = self.deadline {
            timeout = timeout.min(deadline.saturating_duration_since(Instant::now()));
        }
        if self.gone.get().is_some() || timeout.is_zero() {
            return Expanded::NotNow;
        }
        let call = Call {
            method: Method::GET,
            path: asked,
            header: None,
            if_match: None,
            body: None,
            timeout,
        };
        let answer = match self.service.send(call).await {
            Ok(answer) => answer,
            Err(Lost::NotSent(_)) => return Expanded::NotNow,
            Err(Lost::MaybeSent(_)) => return Expanded::Cannot,
        };
        match (answer.status, answer.body.as_deref()) {
            (200, Ok(bytes)) => {
                // What is read one by one needs its part of the bytes, too.
                if self.bytes.load(Ordering::Relaxed) + bytes.len() > MOST_BYTES / 2 {
                    return Expanded::NotThis;
                }
                match parsed(String::new(), path, bytes, answer.etag()) {
                    Ok(read) if self.count(path, bytes.len()).is_ok() => Expanded::Whole(read),
                    _ => Expanded::Cannot,
                }
            }
            // Whether it is there, and ours to read, the ordinary way finds out.
            (401 | 429, _) => Expanded::NotNow,
            (403 | 404 | 503, _) => Expanded::NotThis,
            _ => Expanded::Cannot,
        }
    }

    /// Takes what stands inside of a collection's members out of them, and keeps it like
    /// what was read: a link is left in its place.
    fn unfold(&self, collection: &mut Resource) {
        let Some(body) = Arc::get_mut(&mut collection.body) else {
            return;
        };
        let members = body.get_mut("Members").and_then(Value::as_array_mut);
        for member in members.into_iter().flatten() {
            if let Some(path) = link::target(&collection.path, member) {
                self.unfold_in(&path, member);
            }
        }
    }

    /// The same for what stands in the resource at `base`.
    fn unfold_in(&self, base: &str, value: &mut Value) {
        let inside: Vec<&mut Value> = match value {
            Value::Object(fields) => fields.values_mut().collect(),
            Value::Array(entries) => entries.iter_mut().collect(),
            _ => return,
        };
        for inner in inside {
            let link = inner.get("@odata.id").and_then(Value::as_str);
            // A part of a resource says where in it it stands.
            let link = link.filter(|l| !l.contains('#'));
            let Some(path) = link.and_then(|l| link::resolve(base, l)) else {
                self.unfold_in(base, inner);
                continue;
            };
            // Before anything is taken out of it.
            let keeps = is_resource(inner) || is_whole_collection(inner);
            self.unfold_in(&path, inner);
            if keeps {
                let left = serde_json::json!({ "@odata.id": path });
                let taken = std::mem::replace(inner, left);
                if self.kept(&path).is_none() {
                    self.keep_member(path, taken);
                }
            }
        }
    }

    /// Reads all members of a collection; a bad one costs only itself.
    /// Fails where the collection itself cannot be read.
    pub async fn members(&self, path: &str) -> Result<Vec<Member>, BmcError> {
        self.members_with(path, Depth::Members).await
    }

    /// The same, with so much of what stands inside of them as comes in one answer, for
    /// who reads that next.
    pub async fn members_with(&self, path: &str, depth: Depth) -> Result<Vec<Member>, BmcError> {
        let mut members: Vec<Result<Value, BmcError>> = Vec::new();
        let mut pages = vec![path.to_owned()];
        let mut base = path.to_owned();
        let mut at = 0;
        while let Some(page) = pages.get(at).cloned() {
            let whole = match self.kept(&page) {
                None => self.with_members(&page, depth).await,
                kept => kept,
            };
            let read = match whole {
                Some(whole) => Ok(whole),
                None => self.read(&page).await,
            };
            let read = match read {
                Ok(read) => read,
                Err(error) if at == 0 => return Err(error),
                Err(error) => {
                    members.push(Err(error));
                    break;
                }
            };
            if at == 0 {
                base.clone_from(&read.path);
            }
            let next = next_page(&read).and_then(|l| link::resolve(&base, &l));
            match members_of(read) {
                Ok(listed) => members.extend(listed.into_iter().map(Ok)),
                Err(why) => members.push(Err(BmcError::malformed(format!("GET {page}"), why))),
            }
            at += 1;
            if let Some(next) = next
                && !pages.contains(&next)
                && at < MOST_PAGES
            {
                pages.push(next);
            }
        }
        members.truncate(MOST_MEMBERS);
        if pages.len() == 1 {
            self.keep_list(&base, &members);
        }
        let read = members.into_iter().map(|member| async {
            let member = member?;
            // Some send the members themselves in place of links to them.
            let whole = is_whole(&member);
            match link::target(&base, &member) {
                Some(path) if whole => Ok(self.keep_member(path, member)),
                Some(path) => self.read(&path).await,
                None if whole => Ok(Resource {
                    path: format!(
                        "{}/{}",
                        base.trim_end_matches('/'),
                        text(&member, "/Id").unwrap_or_default()
                    ),
                    etag: None,
                    body: Arc::new(member),
                }),
                None => Err(BmcError::malformed(
                    format!("GET {base}"),
                    "a member without a link",
                )),
            }
        });
        Ok(join_all(read).await)
    }

    /// Keeps a collection as the links to its members, some of which may have come with it:
    /// whoever asks for it next finds it, and them.
    fn keep_list(&self, base: &str, members: &[Result<Value, BmcError>]) {
        let link = |member: &Result<Value, BmcError>| {
            let path = link::target(base, member.as_ref().ok()?)?;
            Some(serde_json::json!({ "@odata.id": path }))
        };
        let links: Option<Vec<Value>> = members.iter().map(link).collect();
        if let Some(links) = links.filter(|links| self.kept.is_some() && !links.is_empty()) {
            self.keep_member(base.to_owned(), serde_json::json!({ "Members": links }));
        }
    }

    /// The members that can be read. Fails where there are none, with the
    /// first member's reason where there is one.
    pub async fn members_or_error(&self, path: &str) -> Result<Vec<Resource>, BmcError> {
        let mut first = None;
        let mut good = Vec::new();
        for member in self.members(path).await? {
            match member {
                Ok(member) => good.push(member),
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        match (good.is_empty(), first) {
            (true, Some(error)) => Err(error),
            _ => Ok(good),
        }
    }
}

/// Where a collection goes on.
fn next_page(collection: &Resource) -> Option<String> {
    let said = |pointer| text(&collection.body, pointer);
    said("/Members@odata.nextLink").or_else(|| said("/@odata.nextLink"))
}

/// The members that a collection lists, taken out of it where nobody else has it; or why
/// there are none.
fn members_of(collection: Resource) -> Result<Vec<Value>, &'static str> {
    let mut body = collection.body;
    let listed = match Arc::get_mut(&mut body) {
        Some(Value::Object(own)) => own.remove("Members"),
        _ => body.get("Members").cloned(),
    };
    match listed {
        Some(Value::Array(listed)) => Ok(listed),
        Some(Value::Null) => Err("its members are null"),
        Some(_) => Err("its members are no list"),
        None => Err("it has no members"),
    }
}

/// What came of asking for a collection with what is in it.
enum Expanded {
    /// It, with as much as was asked for.
    Whole(Resource),
    /// This one cannot be had so.
    NotThis,
    /// Not at this moment.
    NotNow,
    /// The BMC does not do what it announces.
    Cannot,
}

/// Whether what stands inside of a resource is another one, whole, and not a few words
/// about it beside its link: those seldom say their type, which a resource must.
pub(crate) fn is_resource(inner: &Value) -> bool {
    is_whole(inner) && text(inner, "/@odata.type").is_some()
}

/// Whether it is a collection with all of its members in it.
fn is_whole_collection(inner: &Value) -> bool {
    let Some(Value::Array(members)) = inner.get("Members") else {
        return false;
    };
    let count = inner.get("Members@odata.count").and_then(Value::as_u64);
    let all = count.map_or(!members.is_empty(), |count| count == members.len() as u64);
    all && members.iter().all(is_resource)
}

/// Whether a member is the resource itself and not a link to it.
fn is_whole(member: &Value) -> bool {
    member
        .as_object()
        .is_some_and(|m| m.contains_key("Id") && m.contains_key("Name") && m.len() > 3)
}
