//! One tree of discovery, in the form in which the server has it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::{
    FetchError, Fetcher, Origin,
    ask::{collect, digest, good},
    share,
};
use crate::{
    api::{
        discovery::{
            API_VERSION, API_VERSION_BETA, GroupDiscoveryList, ParseError, Tree, legacy::ServerAddress,
        },
        media_type::{self, AggregatedVersion},
    },
    discovery::catalog::{Document, Form, Forms, Lists, Part},
    limits,
};

/// `/api` or `/apis` as it was answered.
pub(super) enum Root {
    /// 304.
    Unchanged,
    /// A whole document.
    Aggregated(Read),
    /// The list of what there are lists of.
    Plain(Bytes),
}

/// A tree that was read.
pub(super) struct Read {
    pub(super) tree: Tree,
    pub(super) part: Part,
    pub(super) form: Form,
    /// What the lists said beside, if lists were read.
    pub(super) lists: Option<Beside>,
}

/// What only unaggregated lists say; see [`Lists`].
#[derive(Default)]
pub(super) struct Beside {
    pub(super) addresses: Vec<ServerAddress>,
    pub(super) hashes: HashMap<String, Arc<HashMap<String, String>>>,
}

// === impl Fetcher ===

impl Fetcher {
    /// Asks for all forms at once; the type of the answer says which one came.
    pub(super) async fn root(
        &self,
        server: &impl Origin,
        tree: Tree,
        known: Option<&Arc<Document>>,
    ) -> Result<Root, FetchError> {
        let path = tree.as_str();
        let etag = known.and_then(|known| known.part(tree).etag.as_deref());
        let etag = etag.and_then(|etag| HeaderValue::from_str(etag).ok());
        let response = self.ask(server, path, Some(media_type::ACCEPT_NOPEER), etag.as_ref()).await?;
        let (parts, body) = response.into_parts();
        if parts.status == StatusCode::NOT_MODIFIED && etag.is_some() {
            return Ok(Root::Unchanged);
        }
        good(path, parts.status)?;
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
        let (form, api_version) = match media_type::aggregated_json(content_type) {
            Some(AggregatedVersion::V2) => (Form::V2, API_VERSION),
            Some(AggregatedVersion::V2Beta1) => (Form::V2Beta1, API_VERSION_BETA),
            None if media_type::is_plain_json(content_type) => {
                return Ok(Root::Plain(collect(path, body, self.bounds.max_document).await?));
            }
            None => {
                let (path, content_type) = (path.to_owned(), content_type.to_owned());
                return Err(FetchError::MediaType { path, content_type });
            }
        };
        let etag = text(header::ETAG).map(str::to_owned);
        let bytes = collect(path, body, self.bounds.max_document).await?;
        let known = known.cloned();
        let list = digest(path, bytes, move |bytes| {
            let mut list = GroupDiscoveryList::parse_as(bytes, api_version)?;
            if let Some(known) = known {
                share::with(&mut list, &known.part(tree).list);
            }
            Ok::<_, ParseError>(list)
        });
        let list = list.await?.map_err(|error| FetchError::Rubbish { path: path.to_owned(), error })?;
        Ok(Root::Aggregated(Read { tree, part: Part { list, etag }, form, lists: None }))
    }

    /// The rest of the tree; `None` if it is what is known.
    pub(super) async fn whole(
        &self,
        server: &impl Origin,
        tree: Tree,
        root: Root,
        known: Option<&Arc<Document>>,
    ) -> Result<Option<Read>, FetchError> {
        let read = match root {
            Root::Unchanged => return Ok(None),
            Root::Aggregated(read) => read,
            Root::Plain(bytes) => self.plain(server, tree, bytes, known).await?,
        };
        // Without an ETag this is how to tell.
        let same = known.is_some_and(|known| {
            let same_part = read.form == known.form(tree) && read.part == *known.part(tree);
            same_part && read.says_beside(&known.lists)
        });
        Ok((!same).then_some(read))
    }

    /// Whether discovery can be had in CBOR; `None` if the server did not say. Only servers of the newest form can.
    pub(super) async fn offers_cbor(&self, server: &impl Origin, forms: Forms) -> Option<bool> {
        const PATH: &str = "/api";
        const CBOR: &str = "application/cbor";
        if forms.api != Form::V2 {
            return Some(false);
        }
        let response = self.ask(server, PATH, Some(CBOR), None).await.ok()?;
        let is_cbor = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == CBOR);
        let answer = match response.status() {
            StatusCode::OK => Some(is_cbor),
            StatusCode::NOT_ACCEPTABLE => Some(false),
            _ => None,
        };
        // Read to its end, for an HTTP/1.1 connection is good for another request only then.
        collect(PATH, response.into_body(), limits::MAX_LIST_BYTES).await.ok()?;
        answer
    }
}

// === impl Read ===

impl Read {
    pub(super) fn into_part(self) -> (Part, Form) {
        (self.part, self.form)
    }

    /// Puts what the lists said in the place of what was known of this tree.
    pub(super) fn add_to(&self, lists: &mut Lists) {
        let Some(beside) = &self.lists else { return };
        if self.tree == Tree::Api {
            lists.addresses.clone_from(&beside.addresses);
        }
        lists.hashes.retain(|name, _| !is_of(name, self.tree));
        lists.hashes.extend(beside.hashes.iter().map(|(name, hashes)| (name.clone(), Arc::clone(hashes))));
    }

    fn says_beside(&self, lists: &Lists) -> bool {
        let Some(beside) = &self.lists else { return true };
        let known = lists.hashes.iter().filter(|(name, _)| is_of(name, self.tree));
        (self.tree == Tree::Apis || beside.addresses == lists.addresses)
            && known.clone().count() == beside.hashes.len()
            && known.into_iter().all(|(name, hashes)| beside.hashes.get(name) == Some(hashes))
    }
}

/// Whether a group-version stands in a tree.
fn is_of(group_version: &str, tree: Tree) -> bool {
    group_version.contains('/') == (tree == Tree::Apis)
}
