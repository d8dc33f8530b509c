//! Servers by the endpoint slices of the service `kubernetes` in the namespace `default`, which every kube-apiserver
//! keeps its own address in.
//!
//! A slice says only where a server is, so its name is made from that ([`super::sighting::address_name`]): a sidecar
//! calls its home so as well (`--api-server=10.0.0.1-6443=https://127.0.0.1:6443 --home=10.0.0.1-6443`), or would take
//! it for a peer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::allowed::Allowed;
use super::sighting::{Reading, Reason, Refused, Sighting};
use crate::limits;

#[cfg(test)]
mod tests;

/// Where the service is.
pub const NAMESPACE: &str = "default";
/// Selects its slices.
pub const LABEL: (&str, &str) = ("kubernetes.io/service-name", "kubernetes");
/// The port's name.
const PORT: &str = "https";

/// Reads all slices that there are, in any order. Those of other services are passed over.
pub fn read<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>, allowed: &Allowed) -> Reading {
    let mut slices: Vec<_> = slices.into_iter().filter(|slice| is_ours(slice)).collect();
    slices.sort_by_key(|slice| name(slice));
    let mut refused = Vec::new();
    let mut left = limits::MAX_SOURCE_ENTRIES;
    let mut found: BTreeMap<_, Sighting> = BTreeMap::new();
    for slice in slices {
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        let (taken, left_out) = endpoints.split_at(endpoints.len().min(left));
        left -= taken.len();
        if !left_out.is_empty() {
            refused.push(Refused::new(name(slice), Reason::TooMany));
        }
        let port = match port(slice) {
            Ok(port) => port,
            Err(reason) => {
                refused.push(Refused::new(name(slice), reason));
                continue;
            }
        };
        for endpoint in taken {
            match read_one(endpoint, port, allowed) {
                // Named twice, it is there if it is there in one place.
                Ok(sighting) => {
                    let known = found.entry(sighting.name().clone()).or_insert_with(|| sighting.clone());
                    if sighting.is_live() {
                        *known = sighting;
                    }
                }
                Err(reason) => {
                    let shown = endpoint.addresses.first().map_or_else(|| name(slice), String::as_str);
                    refused.push(Refused::new(shown, reason));
                }
            }
        }
    }
    let mut reading = Reading::all(found.into_values().map(Ok));
    reading.refused = refused;
    reading
}

fn is_ours(slice: &EndpointSlice) -> bool {
    let (label, value) = LABEL;
    let labels = slice.metadata.labels.as_ref();
    slice.metadata.namespace.as_deref() == Some(NAMESPACE)
        && labels.and_then(|labels| labels.get(label)).is_some_and(|given| given == value)
}

fn name(slice: &EndpointSlice) -> &str {
    slice.metadata.name.as_deref().unwrap_or_default()
}

/// The port that is named `https`, or the only one.
fn port(slice: &EndpointSlice) -> Result<u16, Reason> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some(PORT));
    let only = if let [only] = ports { Some(only) } else { None };
    let port = named.or(only).and_then(|port| port.port).ok_or(Reason::NoAddress)?;
    u16::try_from(port).map_err(|_| Reason::BadAddress)
}

fn read_one(endpoint: &Endpoint, port: u16, allowed: &Allowed) -> Result<Sighting, Reason> {
    // Further addresses of one endpoint have no meaning (the API's own words), and kube-proxy passes them over.
    let text = endpoint.addresses.first().ok_or(Reason::NoAddress)?;
    let short = text.len() <= limits::MAX_ADVERTISED_ADDRESS;
    let ip: IpAddr = short.then(|| text.parse().ok()).flatten().ok_or(Reason::BadAddress)?;
    let sighting = Sighting::by_address(ip, port, allowed)?;
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    Ok(if ready && !terminating { sighting } else { sighting.departed() })
}
