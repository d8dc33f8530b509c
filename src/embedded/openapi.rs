//! OpenAPI of what discovery lists.

mod gnostic;
mod paths;
mod schema;
mod specs;
#[cfg(test)]
mod tests;

pub(super) use specs::{Spec, Specs, relative_url};
