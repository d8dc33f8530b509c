//! What each API server serves, side by side, and where they differ.
//!
//! A pure function from what is known of each server to a [`Skew`]: a matrix of resources and servers. The admin pages
//! and `kube-peer-proxy inspect` show the same one, and its JSON is this:
//!
//! ```json
//! {
//!   "servers": [{
//!     "name": "a", "address": "https://10.0.0.1:6443", "version": "v1.36.3", "freshness": "fresh",
//!     "known": true, "staleGroupVersions": [], "ageSeconds": 0.2, "etags": {"/api": "\"9F…\"", "/apis": "\"C2…\""}, "error": null,
//!     "standsForOthers": false
//!   }],
//!   "incomplete": false,
//!   "summary": {
//!     "groupVersions": 24, "resources": 70, "subresources": 60, "differing": 4,
//!     "only": {"a": ["scheduling.k8s.io/v1alpha2"]}
//!   },
//!   "rows": [{
//!     "group": "apps", "version": "v1", "resource": "deployments/scale", "kind": "Scale", "scope": "Namespaced",
//!     "differs": true, "differsIn": ["verbs"],
//!     "cells": {
//!       "a": {"state": "served", "kind": "autoscaling/v1 Scale", "scope": "Namespaced", "verbs": ["get", "patch"]},
//!       "b": {"state": "notServed"}
//!     }
//!   }]
//! }
//! ```
//!
//! `group` is empty for the core group. `state` is one of `served`, `notServed`, `unknown` and `stale` ([`State`]);
//! `differsIn` has `presence`, `verbs`, `scope` and `kind` ([`Aspect`]). `incomplete` says that something is not known
//! that might make a difference: ignorance is not absence, so what is not known is never counted as a difference, and
//! whoever needs to be sure that there is none looks at both.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::catalog::{Document, Freshness};

mod diff;
mod listed;
mod matrix;
#[cfg(test)]
mod tests;

/// What each server serves, and where they differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Skew {
    /// The servers in the order in which they were given.
    pub servers: Vec<ServerSeen>,
    /// A server is unknown or stale, or lists a group-version as stale.
    pub incomplete: bool,
    /// How much there is, and how much of it differs.
    pub summary: Summary,
    /// Everything that any of them serves: the core group first, then groups by name; in a group the versions in
    /// Kubernetes' order of preference (`v1`, `v1beta1`, `v1alpha1`); in a version resources by name.
    pub rows: Vec<Row>,
}

/// One server, and how far to trust what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerSeen {
    /// Its name; no two are equal.
    pub name: Arc<str>,
    /// Where it is.
    pub address: Option<String>,
    /// As it calls itself, `v1.36.3`, or `1.36` where no more is known.
    pub version: Option<String>,
    /// How far to trust it.
    pub freshness: Freshness,
    /// Whether it is known what it serves; set by [`Skew::of`].
    pub known: bool,
    /// Group-versions that it lists as stale: what it says of them may be old, or nothing. Set by [`Skew::of`].
    pub stale_group_versions: Vec<String>,
    /// How old what is known of it is, in seconds.
    pub age_seconds: Option<f64>,
    /// The `ETag`s of its documents, `/api` and `/apis`, quotes included.
    pub etags: BTreeMap<String, String>,
    /// Why it could not be asked, or not lately.
    pub error: Option<String>,
    /// What it answers of discovery is more than it serves itself: at its address a proxy stands before others, too.
    pub stands_for_others: bool,
}

/// A server, and what it said that it serves.
#[derive(Clone, Debug)]
pub struct Column {
    /// The server.
    pub seen: ServerSeen,
    /// `None`: not known.
    pub document: Option<Arc<Document>>,
}

/// How much there is, and how much of it differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Group-versions that any server lists.
    pub group_versions: usize,
    /// Rows that are resources.
    pub resources: usize,
    /// Rows that are subresources.
    pub subresources: usize,
    /// Rows that differ.
    pub differing: usize,
    /// By server, the group-versions (`apps/v1`, `v1`) that it lists and all others of which we know do not; empty
    /// if fewer than two are known.
    pub only: BTreeMap<Arc<str>, Vec<String>>,
}

/// A resource or subresource, and who serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Plural name, as in the path; a subresource as `pods/log`.
    pub resource: String,
    /// Its kind at the first server that serves it; empty if it has none.
    pub kind: String,
    /// `Cluster` or `Namespaced` at the first server that serves it.
    pub scope: String,
    /// Not all servers of which we know agree.
    pub differs: bool,
    /// In what they do not.
    pub differs_in: Vec<Aspect>,
    /// By server.
    pub cells: BTreeMap<Arc<str>, Cell>,
}

/// What a server makes of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cell {
    /// Whether it serves it.
    pub state: State,
    /// What its requests answer with: `apps/v1 Deployment`, `v1 Pod`; empty if that is no object, or if not served.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `Cluster` or `Namespaced`; empty if not served.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// In alphabetical order; empty if not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
}

/// Whether a server serves a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It lists it.
    Served,
    /// It does not list it; a stale server did not when it was last heard.
    NotServed,
    /// Nothing is known of the server, or it could not list the group-version.
    #[default]
    Unknown,
    /// It listed it when it was last heard, or lists the group-version as stale.
    Stale,
}

/// In what servers can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aspect {
    /// Some serve it, some do not.
    Presence,
    /// The verbs.
    Verbs,
    /// `Cluster` or `Namespaced`.
    Scope,
    /// What requests answer with.
    Kind,
}

/// Two servers side by side.
///
/// Its JSON has `servers` (the two names), `incomplete`, `onlyIn` (by name, rows that only this one serves), and
/// `different` (rows that both serve differently). Rows are those of a [`Skew`] with two cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Their names.
    pub servers: [Arc<str>; 2],
    /// One of them is unknown or stale, or lists a group-version as stale.
    pub incomplete: bool,
    /// By name, what only this one serves; both are always there.
    pub only_in: BTreeMap<Arc<str>, Vec<Row>>,
    /// What both serve, and not alike.
    pub different: Vec<Row>,
}

// === impl Skew ===

impl Skew {
    /// The rows that differ.
    pub fn differing(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.differs)
    }

    /// The server with this name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&ServerSeen> {
        self.servers.iter().find(|server| &*server.name == name)
    }
}

// === impl ServerSeen ===

impl ServerSeen {
    /// Whether it might serve something else than what is known of it.
    pub(crate) fn is_doubtful(&self) -> bool {
        !self.known || self.freshness != Freshness::Fresh || !self.stale_group_versions.is_empty()
    }
}

// === impl Row ===

impl Row {
    /// `apps/v1`, or `v1` for the core group.
    #[must_use]
    pub fn group_version(&self) -> String {
        crate::api::discovery::legacy::group_version(&self.group, &self.version)
    }

    /// Whether it is a subresource.
    #[must_use]
    pub fn is_subresource(&self) -> bool {
        self.resource.contains('/')
    }

    /// What a server makes of it; one that the row does not have is unknown.
    #[must_use]
    pub fn state(&self, server: &str) -> State {
        self.cells.get(server).map_or(State::Unknown, |cell| cell.state)
    }

    /// The verbs that another server has and this cell's has not, in alphabetical order.
    #[must_use]
    pub fn lacking(&self, cell: &Cell) -> Vec<&str> {
        let others = self.cells.values().flat_map(|other| &other.verbs);
        let mut verbs: Vec<&str> = others.map(String::as_str).collect();
        verbs.sort_unstable();
        verbs.dedup();
        verbs.retain(|verb| cell.verbs.iter().all(|own| own != verb));
        verbs
    }
}

// === impl Cell ===

impl Cell {
    /// Served or stale: it may be asked for it.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        matches!(self.state, State::Served | State::Stale)
    }
}

// === impl Aspect ===

impl Aspect {
    /// As people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Verbs => "verbs",
            Self::Scope => "scope",
            Self::Kind => "kind",
        }
    }
}
