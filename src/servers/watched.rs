//! What watches say of one API server: a board that informers write and everybody reads.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// Why a server's discovery is fetched again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// When something says that it may have changed, and at a slow resync.
    #[default]
    Watch,
    /// On a timer, because nothing would say it.
    Interval,
}

/// Group and plural name of a custom resource definition, or group and version of an APIService.
pub type Name = (String, String);

/// What a server's informers said of custom resource definitions and APIServices.
///
/// Revisions are resource versions as numbers: servers with one storage count alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custom {
    /// Two servers for which this is equal have one storage: it is their trust domain, and the UID of the APIService
    /// `v1.`, which every storage has its own of, or else of the first APIService by name.
    pub storage: Option<String>,
    /// Each custom resource definition, by group and plural name, with its revision; [`u64::MAX`] if that is no number.
    pub crds: BTreeMap<Name, u64>,
    /// Each APIService, by group and version.
    pub apiservices: BTreeMap<Name, ApiService>,
    /// How far the definitions are known; 0 if that is no number.
    pub crds_until: u64,
    /// How far the APIServices are known; 0 if that is no number.
    pub apiservices_until: u64,
    /// Whether this is how things are now: everything was listed, and watches would tell of changes.
    pub synced: bool,
}

/// An APIService.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiService {
    /// Why it is there.
    pub maker: Maker,
    /// Its revision; [`u64::MAX`] if that is no number.
    pub revision: u64,
}

/// Why there is an APIService (`k8s.io/kube-aggregator/pkg/controllers/autoregister`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A server made it for what is built in.
    BuiltIn,
    /// A server made it because custom resource definitions serve this group-version.
    Definitions,
    /// Somebody else: an extension server has it.
    Aggregation,
}

/// How an informer is doing, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InformerState {
    /// What it saw lasts.
    pub resource_version: String,
    /// Whether its watch is connected.
    pub live: bool,
    /// How many objects it has seen that are there.
    pub objects: usize,
    /// Why it cannot watch, if the server refuses.
    pub refused: Option<String>,
}

/// The board. A server that was never watched has an empty one.
#[derive(Debug)]
pub struct Watched {
    mode: watch::Sender<Mode>,
    custom: watch::Sender<Arc<Custom>>,
    informers: Mutex<BTreeMap<&'static str, InformerState>>,
}

// === impl Mode ===

impl Mode {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Interval => "interval",
        }
    }
}

// === impl Watched ===

impl Default for Watched {
    fn default() -> Self {
        Self {
            // Until there are watches, only the timer says anything.
            mode: watch::Sender::new(Mode::Interval),
            custom: watch::Sender::new(Arc::default()),
            informers: Mutex::default(),
        }
    }
}

impl Watched {
    /// Why discovery is fetched now.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Tells of every change of the mode.
    pub fn mode_changes(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    /// From now on; whether that is a change.
    pub fn set_mode(&self, mode: Mode) -> bool {
        self.mode.send_if_modified(|now| std::mem::replace(now, mode) != mode)
    }

    /// What informers said.
    pub fn custom(&self) -> Arc<Custom> {
        Arc::clone(&self.custom.borrow())
    }

    /// Tells of every change of [`Self::custom`].
    pub fn custom_changes(&self) -> watch::Receiver<Arc<Custom>> {
        self.custom.subscribe()
    }

    /// Informers say this now.
    pub fn set_custom(&self, custom: Custom) {
        self.custom.send_if_modified(|now| {
            let changed = **now != custom;
            if changed {
                *now = Arc::new(custom);
            }
            changed
        });
    }

    /// How each informer is doing, by its resource.
    pub fn informers(&self) -> BTreeMap<&'static str, InformerState> {
        self.informers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The informer of `resource` is doing so now.
    pub fn set_informer(&self, resource: &'static str, state: InformerState) {
        self.informers.lock().unwrap_or_else(PoisonError::into_inner).insert(resource, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_of_what_informers_said_are_told() {
        let watched = Watched::default();
        let mut changes = watched.custom_changes();
        watched.set_custom(Custom::default());
        assert!(!changes.has_changed().expect("the board is there"));
        let custom = Custom { synced: true, ..Custom::default() };
        watched.set_custom(custom.clone());
        assert!(changes.has_changed().expect("the board is there"));
        assert_eq!(**changes.borrow_and_update(), custom);
        watched.set_custom(custom);
        assert!(!changes.has_changed().expect("the board is there"));
    }
}
