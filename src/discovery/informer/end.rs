//! How watches end, and what that says of the server.

use super::kinds::Kind;
use crate::limits;

/// How a watch, or the attempt at one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server ended it in good order, as it does every few minutes.
    Over,
    /// The server no longer knows what happened since, and has to be asked for everything.
    Gone,
    /// It went wrong.
    Failed(String),
    /// The server lets nobody do this here.
    Refused(String),
    /// There is more than we want to remember.
    TooMany,
}

// === impl End ===

impl End {
    pub(super) fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                410 => Self::Gone,
                // Also by its reason: an ERROR event may come without a code.
                _ if status.reason == "Expired" || status.reason == "Gone" => Self::Gone,
                // Nobody we know; not allowed; no such resource; not watchable.
                code @ (401 | 403 | 404 | 405 | 501) => {
                    Self::Refused(format!("{code} {}", short(&status.message)))
                }
                code => Self::Failed(format!("{code} {}", short(&status.message))),
            },
            error => Self::Failed(short(&error.to_string())),
        }
    }

    pub(super) fn refusal<K>(&self, kind: &Kind<K>) -> Option<String> {
        match self {
            Self::Refused(why) => Some(why.clone()),
            Self::TooMany => Some(format!("more than {} objects", kind.max_objects)),
            Self::Over | Self::Gone | Self::Failed(_) => None,
        }
    }
}

/// A server's words may be long.
fn short(text: &str) -> String {
    text.chars().take(limits::MAX_SERVER_WORDS).collect()
}
