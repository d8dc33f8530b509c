//! Series that end with the API server that they are about.
//!
//! Servers come and go while we run. What is shown of one that went would be shown for ever, and a source that gives
//! each newcomer another name would make more and more series.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::Metric;

use super::{Server, ServerName};

/// Labels of which one names the server.
pub(super) trait OfServer {
    /// The server that the series is about.
    fn server(&self) -> &ServerName;
}

/// A family of which all series of one server can be taken away.
#[derive(Debug)]
pub(super) struct PerServer<S, M, C = fn() -> M> {
    family: Family<S, M, C>,
    /// What there is, by server. Only looked at when a series begins or ends.
    begun: Arc<Mutex<HashMap<ServerName, HashSet<S>>>>,
}

/// Says of types with a field `server` that it names the server.
macro_rules! of_server {
    ($($labels:ty),+) => {$(
        impl $crate::metrics::per_server::OfServer for $labels {
            fn server(&self) -> &$crate::metrics::ServerName {
                &self.server
            }
        }
    )+};
}
pub(super) use of_server;

of_server!(Server);

// === impl PerServer ===

impl<S, M, C> PerServer<S, M, C>
where
    S: OfServer + Clone + Hash + Eq,
    C: MetricConstructor<M>,
{
    pub(super) fn new_with_constructor(constructor: C) -> Self {
        Self { family: Family::new_with_constructor(constructor), begun: Arc::default() }
    }

    /// For the registry.
    pub(super) fn family(&self) -> Family<S, M, C>
    where
        C: Clone,
    {
        self.family.clone()
    }

    /// The series with these labels. Not to be held: it locks the others.
    pub(super) fn get_or_create(&self, labels: &S) -> impl std::ops::Deref<Target = M> {
        match self.family.get(labels) {
            Some(metric) => metric,
            None => {
                let mut begun = self.begun();
                begun.entry(labels.server().clone()).or_default().insert(labels.clone());
                // Under the lock, so that it is not taken away before it is there.
                self.family.get_or_create(labels)
            }
        }
    }

    /// A handle on the series with these labels.
    pub(super) fn get_or_create_owned(&self, labels: &S) -> M
    where
        M: Clone + Metric,
    {
        self.get_or_create(labels).clone()
    }

    /// Takes away all series of a server.
    pub(super) fn forget(&self, server: &ServerName) {
        let mut begun = self.begun();
        for labels in begun.remove(server).unwrap_or_default() {
            self.family.remove(&labels);
        }
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<ServerName, HashSet<S>>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series with these labels, if there is one. Not to be held.
    pub(super) fn get(&self, labels: &S) -> Option<impl std::ops::Deref<Target = M>> {
        self.family.get(labels)
    }
}

impl<S: OfServer + Clone + Hash + Eq, M: Default> Default for PerServer<S, M> {
    fn default() -> Self {
        Self { family: Family::default(), begun: Arc::default() }
    }
}

impl<S, M, C: Clone> Clone for PerServer<S, M, C> {
    fn clone(&self) -> Self {
        Self { family: self.family.clone(), begun: Arc::clone(&self.begun) }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_series_of_one_server_end_and_those_of_others_go_on() {
        let family = PerServer::<Server, Counter>::default();
        let [a, b] = ["a", "b"].map(|name| Server { server: name.into() });
        for labels in [&a, &b, &a] {
            family.get_or_create(labels).inc();
        }
        family.clone().forget(&a.server);
        assert!(family.get(&a).is_none());
        assert_eq!(family.get_or_create(&b).get(), 1);
        assert_eq!(family.get_or_create(&a).get(), 0, "it may begin anew");
        family.forget(&a.server);
        assert!(family.get(&a).is_none(), "and end again");
        family.forget(&b.server);
        assert_eq!(family.begun().values().map(HashSet::len).sum::<usize>(), 0);
    }
}
