//! Which settings can change while we run.

use crate::config::Change as Setting;

/// Settings that can change while we run, by their keys in the file. All others take a restart.
const RELOADABLE: [&str; 32] = [
    "tlsCertFile",
    "tlsPrivateKeyFile",
    "tlsMinVersion",
    "tlsCipherSuites",
    "tlsSniCertKey",
    "clientCaFile",
    "requestheaderClientCaFile",
    "requestheaderAllowedNames",
    "requestheaderUsernameHeaders",
    "requestheaderUidHeaders",
    "requestheaderGroupHeaders",
    "requestheaderExtraHeadersPrefix",
    "trustedProxyCidrs",
    "trustDomain",
    "identityMap",
    "allowSharedIdentity",
    "apiServers",
    "home",
    "homePreference",
    "peerAllowedCidrs",
    "peerCaFile",
    "peerServerName",
    "proxyClientCertFile",
    "proxyClientKeyFile",
    "forgetAfter",
    "reroute",
    "merge",
    "discoverySourcesHeader",
    "requestTimeout",
    "maxRequestsInflight",
    "upgradeIdleTimeout",
    "reloadCheckInterval",
];

/// The same for what belongs to one API server.
const RELOADABLE_OF_A_SERVER: [&str; 10] = [
    "url",
    "serverName",
    "caFile",
    "proxyClientCertFile",
    "proxyClientKeyFile",
    "requestheaderUsernameHeaders",
    "requestheaderUidHeaders",
    "requestheaderGroupHeaders",
    "requestheaderExtraHeadersPrefix",
    "trustDomain",
];

/// Whether it makes another fleet, or another home in it.
pub(super) fn is_about_servers(change: &Setting) -> bool {
    // The trust domain of the callers is that of a front's homes.
    const OF_THE_FLEET: [&str; 4] = ["apiServers", "home", "homePreference", "trustDomain"];
    match change.server {
        // New certificates are for the servers that there are.
        Some(_) => !matches!(change.key.as_str(), "caFile" | "proxyClientCertFile" | "proxyClientKeyFile"),
        None => OF_THE_FLEET.contains(&change.key.as_str()),
    }
}

/// Whether it takes no restart.
pub(super) fn is_reloadable(change: &Setting) -> bool {
    let keys = if change.server.is_some() { &RELOADABLE_OF_A_SERVER[..] } else { &RELOADABLE };
    keys.contains(&change.key.as_str())
}
