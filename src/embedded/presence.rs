//! How a server makes itself known in its cluster: an identity Lease, and an address behind `default/kubernetes`.
//!
//! Upstream: `k8s.io/kubernetes/pkg/controlplane/apiserver/server.go` and `.../reconcilers`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answer::Refusal;
use super::store::{Key, Scope, Store};

/// How often an identity Lease is renewed.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(10);
/// How long one is valid, in seconds.
const LEASE_DURATION: u64 = 3600;
const SLICES: (&str, &str, &str) = ("discovery.k8s.io", "endpointslices", "default");

/// What a server says of itself in its store.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    /// Of the host whose Lease it is; `None` for no Lease.
    pub(super) hostname: Option<String>,
    /// Whether the Lease names the address.
    pub(super) advertise: bool,
    /// Whether a Lease found at the start is deleted and made anew.
    pub(super) fresh: bool,
    pub(super) renewal: Duration,
    pub(super) endpoint_slice: bool,
}

// === impl Presence ===

impl Presence {
    /// Makes a server known as it starts; the task, if there is one, has to run while the server does.
    pub(super) fn appear(
        &self,
        store: &Arc<Store>,
        address: SocketAddr,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.endpoint_slice {
            join(store, address);
        }
        let hostname = self.hostname.as_deref()?;
        let name = identity(hostname);
        let holder = format!("{name}_{}", uuid::Uuid::new_v4());
        let key = lease_key(name);
        if self.fresh {
            // Most often there is none.
            let _ = store.delete(&key, |_| Ok(()), false);
        }
        let lease = lease(hostname, &holder, self.advertise.then_some(address));
        hold(store, &key, &lease);
        let (store, renewal) = (Arc::clone(store), self.renewal);
        Some(async move {
            loop {
                tokio::time::sleep(renewal).await;
                hold(&store, &key, &lease);
            }
        })
    }

    /// Takes back what [`Self::appear`] said.
    pub(super) fn leave(&self, store: &Store, address: SocketAddr) {
        if let Some(hostname) = &self.hostname {
            // Somebody else may have deleted it.
            let _ = store.delete(&lease_key(identity(hostname)), |_| Ok(()), false);
        }
        if self.endpoint_slice {
            part(store, address);
        }
    }
}

/// `apiserver-` and 26 letters and digits: base32 of the first half of the hostname's SHA-256.
fn identity(hostname: &str) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut out, mut bits, mut count) = (String::from("apiserver-"), 0_usize, 0);
    for byte in Sha256::digest(hostname).iter().take(16) {
        bits = bits << 8 | usize::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            out.push(DIGITS[bits >> count & 31].into());
        }
        bits &= 31;
    }
    out.push(DIGITS[bits << (5 - count) & 31].into());
    out
}

fn lease_key(name: String) -> Key {
    Key {
        group: "coordination.k8s.io".into(),
        resource: "leases".into(),
        namespace: "kube-system".into(),
        name,
    }
}

fn lease(hostname: &str, holder: &str, address: Option<SocketAddr>) -> Value {
    let labels =
        json!({ "apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": hostname });
    let mut metadata = json!({ "labels": labels });
    if let Some(address) = address {
        metadata["annotations"] = json!({ "kubernetes.io/peer-advertise-address": address.to_string() });
    }
    json!({
        "metadata": metadata, "spec": { "holderIdentity": holder, "leaseDurationSeconds": LEASE_DURATION },
    })
}

/// Renews the Lease, and makes it if it is not there.
fn hold(store: &Store, key: &Key, lease: &Value) {
    let mut lease = lease.clone();
    lease["spec"]["renewTime"] = json!(micro_time());
    if store.update(key, |_| Ok(lease.clone()), false).is_err() {
        // Who is faster has made it.
        let _ = store.create(key.clone(), lease, false);
    }
}

/// Now, as Kubernetes' `MicroTime` writes it.
fn micro_time() -> String {
    let now = OffsetDateTime::now_utc();
    let seconds = now.replace_nanosecond(0).expect("zero is a number of nanoseconds");
    let seconds = seconds.format(&Rfc3339).expect("the present year has four digits");
    format!("{}.{:06}Z", seconds.trim_end_matches('Z'), now.microsecond())
}

/// A slice has one set of ports for all its addresses: servers with another port have a slice of their own, which no
/// real cluster needs.
fn join(store: &Store, address: SocketAddr) {
    let endpoint = endpoint(address);
    if let Some(key) = slice_of(store, address) {
        let change = |old: &Value| {
            let mut new = old.clone();
            let endpoints = new["endpoints"].as_array_mut();
            endpoints
                .filter(|all| !all.contains(&endpoint))
                .into_iter()
                .for_each(|all| all.push(endpoint.clone()));
            Ok::<_, Refusal>(new)
        };
        // It was there just now.
        let _ = store.update(&key, change, false);
        return;
    }
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "metadata": { "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": family, "endpoints": [endpoint],
        "ports": [{ "name": "https", "protocol": "TCP", "port": address.port() }],
    });
    let names = ["kubernetes".to_owned(), format!("kubernetes-{}", address.port())];
    for name in names {
        if store.create(slice_key(name), slice.clone(), false).is_ok() {
            return;
        }
    }
}

fn part(store: &Store, address: SocketAddr) {
    let Some(key) = slice_of(store, address) else { return };
    let endpoint = endpoint(address);
    let change = |old: &Value| {
        let mut new = old.clone();
        if let Some(all) = new["endpoints"].as_array_mut() {
            all.retain(|other| *other != endpoint);
        }
        Ok::<_, Refusal>(new)
    };
    let left = store.update(&key, change, false);
    if left.is_ok_and(|left| left["endpoints"] == json!([])) {
        // Somebody else may have deleted it.
        let _ = store.delete(&key, |_| Ok(()), false);
    }
}

fn endpoint(address: SocketAddr) -> Value {
    json!({ "addresses": [address.ip().to_string()], "conditions": { "ready": true } })
}

/// The slice of servers with this port.
fn slice_of(store: &Store, address: SocketAddr) -> Option<Key> {
    let (group, resource, namespace) = SLICES;
    let scope = Scope { group: group.into(), resource: resource.into(), namespace: Some(namespace.into()) };
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let (slices, _) = store.list(&scope);
    let found = slices.iter().find(|slice| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"
            && slice["addressType"] == family
            && slice["ports"][0]["port"] == address.port()
    })?;
    Some(slice_key(found["metadata"]["name"].as_str()?.to_owned()))
}

fn slice_key(name: String) -> Key {
    let (group, resource, namespace) = SLICES;
    Key { group: group.into(), resource: resource.into(), namespace: namespace.into(), name }
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn an_identity_is_half_a_hash_of_the_hostname_in_base32() {
        // printf host-a | sha256sum | xxd -r -p | head -c 16 | base32 | tr A-Z a-z
        assert_eq!(identity("host-a"), "apiserver-yfi6hewkklkxh5c3txuev5hfue");
    }
}
