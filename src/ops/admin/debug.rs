//! `/debug`: the catalog and its decisions as JSON. Nothing here is secret, and nothing changes anything.

use serde_json::Value;

use crate::proxy::{Proxy, explain};

mod catalog;
mod decisions;
mod diff;
mod servers;

pub(super) use catalog::{catalog, catalog_of, discovery};
pub(super) use decisions::decisions;
pub(super) use diff::{matrix, pair, peculiar};
pub(super) use servers::servers;

/// Where a request would go now, why, and who its caller would be there.
///
/// # Errors
/// What is missing or wrong in the question.
pub(super) fn explain<'a>(proxy: &Proxy, asked: impl Fn(&str) -> Option<&'a str>) -> Result<Value, String> {
    explain::of_proxy(proxy, &explain::Asked::read(asked))
}
