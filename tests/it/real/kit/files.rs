//! What the real components read from disk, and the users that they know.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kube_peer_proxy::pki::{Authority, Credential, Leaf, Pki};
use serde_json::json;

/// Who talks to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// By certificate, `system:masters`.
    Admin,
    /// By certificate: CN=first, CN=alice, O=devs, O=testers, UID alice-uid. May do all in most groups.
    Alice,
    /// By token: bob, bob-uid, devs, night-shift. May do what alice may.
    Bob,
    /// By certificate, in the group `readers`: may read pods, and nothing else.
    Carol,
    /// By token, in the group `readers`.
    Dave,
    /// By token, `system:masters`.
    AdminToken,
    /// By a token of one's own.
    Token(&'static str),
    /// A trusted front proxy, which says in headers who is calling.
    FrontProxy,
    /// Nobody.
    Anonymous,
}

/// The PKI and the rest, in a folder.
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    pub(crate) pki: Pki,
    alice: Credential,
    carol: Credential,
}

const TOKENS: &str = "\
admin-token,admin-by-token,admin-uid,\"system:masters\"
bob-token,bob,bob-uid,\"devs,night-shift\"
dave-token,dave,dave-uid,\"readers\"
";
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

// === impl Who ===

impl Who {
    /// The bearer token, if there is one.
    pub(crate) fn token(self) -> Option<&'static str> {
        match self {
            Self::Bob => Some("bob-token"),
            Self::Dave => Some("dave-token"),
            Self::AdminToken => Some("admin-token"),
            Self::Token(token) => Some(token),
            Self::Admin | Self::Alice | Self::Carol | Self::FrontProxy | Self::Anonymous => None,
        }
    }
}

// === impl Files ===

impl Files {
    pub(crate) fn write(dir: PathBuf) -> Self {
        let pki = Pki::generate(&[]).unwrap();
        pki.write(&dir, true).unwrap();
        let alice =
            Leaf::client("first").common_name("alice").group("devs").group("testers").uid("alice-uid");
        let alice = pki.cluster_ca.issue(&alice).unwrap();
        let write = |name: &str, content: &str| fs::write(dir.join(name), content).unwrap();
        let carol = pki.client("carol", &["readers"]).unwrap();
        let kubelet_client = pki.client("kube-apiserver-kubelet-client", &[]).unwrap();
        for (name, one) in [("alice", &alice), ("carol", &carol), ("kubelet-client", &kubelet_client)] {
            write(&format!("{name}.crt"), &one.cert_pem);
            write(&format!("{name}.key"), &one.key_pem);
        }
        write("tokens.csv", TOKENS);
        write("audit-policy.json", AUDIT_POLICY);
        // Signs service accounts' tokens; any key will do.
        let accounts = Authority::new("service-accounts").unwrap();
        write("sa.key", &accounts.key_pem());
        write("sa.crt", accounts.cert_pem());
        Self { dir, pki, alice, carol }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The certificate that somebody shows.
    pub(crate) fn certificate(&self, who: Who) -> Option<&Credential> {
        match who {
            Who::Admin => Some(&self.pki.admin),
            Who::Alice => Some(&self.alice),
            Who::Carol => Some(&self.carol),
            Who::FrontProxy => Some(&self.pki.front_proxy_client),
            Who::Bob | Who::Dave | Who::AdminToken | Who::Token(_) | Who::Anonymous => None,
        }
    }

    /// A kubeconfig (JSON is YAML, too) for one server and one user.
    pub(crate) fn kubeconfig(&self, folder: &Path, url: &str, who: Who) -> PathBuf {
        let certificate = |name: &str| {
            let [cert, key] = ["crt", "key"].map(|kind| self.path(&format!("{name}.{kind}")));
            json!({ "client-certificate": cert, "client-key": key })
        };
        let user = match who {
            Who::Admin => certificate("admin"),
            Who::Alice => certificate("alice"),
            Who::Carol => certificate("carol"),
            _ => who.token().map_or_else(|| json!({}), |token| json!({ "token": token })),
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{
                "name": "it", "cluster": { "server": url, "certificate-authority": self.path("ca.crt") },
            }],
            "users": [{ "name": "it", "user": user }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
        });
        let path = folder.join("kubeconfig");
        fs::write(&path, config.to_string()).unwrap();
        path
    }
}
