//! A document as the cache writes it: a form of its own, so that the types of the catalog can change freely.
//!
//! Whoever changes this form raises the format in [`super::file`]. The lists are those that go over the wire, with
//! whatever fields a server said that we don't know.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    api::{
        discovery::{GroupDiscoveryList, ParseError, legacy::ServerAddress},
        gvr::GroupVersionResource,
    },
    discovery::catalog::{
        Document, Form, Forms, Lists, Part,
        ghosts::{Lost, Named, NamedService, Proof, Remembered},
    },
};

/// Why a payload is no document.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum Rubbish {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    List(#[from] ParseError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentV1 {
    api: PartV1,
    apis: PartV1,
    /// `major` and `minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<(u32, u32)>,
    addresses: Vec<ServerAddress>,
    /// By group-version and resource; sorted, so that the same document is the same file.
    hashes: BTreeMap<String, BTreeMap<String, String>>,
    cbor: bool,
    /// Added later: who doesn't know it overlooks it, and where it is missing nothing of it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom: Option<CustomV1>,
}

/// Each line is a list of what stands in it, in the order of the names below.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomV1 {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage: Option<String>,
    /// Group, plural name, revision.
    definitions: Vec<(String, String, u64)>,
    /// Group, version, revision, whether definitions and whether an extension server made it.
    services: Vec<(String, String, u64, bool, bool)>,
    /// Group, version, resource, whether its definition is lost or the APIService, revision.
    gone: Vec<(String, String, String, LostV1, u64)>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum LostV1 {
    Definition,
    Service,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartV1 {
    form: FormV1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    list: Box<RawValue>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum FormV1 {
    V2,
    V2Beta1,
    Unaggregated,
}

pub(super) fn write(document: &Document, remembered: &Remembered) -> serde_json::Result<Vec<u8>> {
    let Document { api, apis, version, lists, forms, cbor } = document;
    let Lists { addresses, hashes } = &**lists;
    let sorted = |hashes: &HashMap<String, String>| hashes.clone().into_iter().collect();
    let document = DocumentV1 {
        api: PartV1::of(api, forms.api)?,
        apis: PartV1::of(apis, forms.apis)?,
        version: *version,
        addresses: addresses.clone(),
        hashes: hashes.iter().map(|(name, hashes)| (name.clone(), sorted(hashes))).collect(),
        cbor: *cbor,
        custom: (*remembered != Remembered::default()).then(|| CustomV1::of(remembered)),
    };
    serde_json::to_vec(&document)
}

pub(super) fn read(payload: &[u8]) -> Result<(Document, Remembered), Rubbish> {
    let DocumentV1 { api, apis, version, addresses, hashes, cbor, custom } = serde_json::from_slice(payload)?;
    let hashes = hashes.into_iter().map(|(name, hashes)| (name, Arc::new(hashes.into_iter().collect())));
    let lists = Arc::new(Lists { addresses, hashes: hashes.collect() });
    let forms = Forms { api: api.form.into(), apis: apis.form.into() };
    let document = Document { api: api.read()?, apis: apis.read()?, version, lists, forms, cbor };
    Ok((document, custom.map(CustomV1::read).unwrap_or_default()))
}

// === impl CustomV1 ===

impl CustomV1 {
    fn of(Remembered { storage, named, gone }: &Remembered) -> Self {
        let definitions = named
            .definitions
            .iter()
            .map(|((group, name), revision)| (group.clone(), name.clone(), *revision));
        let services = named.services.iter().map(|((group, version), service)| {
            let NamedService { revision, of_definitions, aggregated } = *service;
            (group.clone(), version.clone(), revision, of_definitions, aggregated)
        });
        let gone = gone.iter().map(|(key, proof)| {
            let GroupVersionResource { group, version, resource } = key.clone();
            let lost = match proof.lost {
                Lost::Definition => LostV1::Definition,
                Lost::Service => LostV1::Service,
            };
            (group, version, resource, lost, proof.revision)
        });
        Self {
            storage: storage.clone(),
            definitions: definitions.collect(),
            services: services.collect(),
            gone: gone.collect(),
        }
    }

    fn read(self) -> Remembered {
        let definitions =
            self.definitions.into_iter().map(|(group, name, revision)| ((group, name), revision));
        let services =
            self.services.into_iter().map(|(group, version, revision, of_definitions, aggregated)| {
                ((group, version), NamedService { revision, of_definitions, aggregated })
            });
        let gone = self.gone.into_iter().map(|(group, version, resource, lost, revision)| {
            let lost = match lost {
                LostV1::Definition => Lost::Definition,
                LostV1::Service => Lost::Service,
            };
            (GroupVersionResource { group, version, resource }, Proof { lost, revision })
        });
        Remembered {
            storage: self.storage,
            named: Named { definitions: definitions.collect(), services: services.collect() },
            gone: gone.collect(),
        }
    }
}

// === impl PartV1 ===

impl PartV1 {
    fn of(part: &Part, form: Form) -> serde_json::Result<Self> {
        let Part { list, etag } = part;
        Ok(Self { form: form.into(), etag: etag.clone(), list: to_raw_value(list)? })
    }

    fn read(self) -> Result<Part, ParseError> {
        Ok(Part { list: GroupDiscoveryList::parse(self.list.get().as_bytes())?, etag: self.etag })
    }
}

// === impl FormV1 ===

impl From<Form> for FormV1 {
    fn from(form: Form) -> Self {
        match form {
            Form::V2 => Self::V2,
            Form::V2Beta1 => Self::V2Beta1,
            Form::Unaggregated => Self::Unaggregated,
        }
    }
}

impl From<FormV1> for Form {
    fn from(form: FormV1) -> Self {
        match form {
            FormV1::V2 => Self::V2,
            FormV1::V2Beta1 => Self::V2Beta1,
            FormV1::Unaggregated => Self::Unaggregated,
        }
    }
}
