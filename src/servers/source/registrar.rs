//! The roster with all that is counted and told about it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use super::allowed::Allowed;
use super::roster::{Change, Members, News, Roster, Settings, State};
use super::sighting::{Address, Reading, Refused};
use super::told::Told;
use crate::limits;
use crate::metrics::{ServersByState, SourceMetrics};

/// Keeps a [`Roster`]: what is refused is counted once as long as it stays so, and what changes is logged, each kind of
/// news about each server once in [`limits::SOURCE_NEWS_AGAIN`].
#[derive(Debug)]
pub struct Registrar {
    roster: Roster,
    source: &'static str,
    /// What was refused at the last look, as hashes: names are long, and there may be many.
    refused: HashSet<u64>,
    told: Told,
    metrics: SourceMetrics,
}

// === impl Registrar ===

impl Registrar {
    /// `source` is its name in metrics: `static`, `leases`, `endpointslices` or `dns`.
    pub fn new(
        fixed: impl IntoIterator<Item = (Arc<str>, Address)>,
        settings: Settings,
        source: &'static str,
        metrics: SourceMetrics,
    ) -> Self {
        let told = Told::new(limits::MAX_SOURCE_NEWS, limits::SOURCE_NEWS_AGAIN);
        let roster = Roster::new(fixed, settings);
        let new = Self { roster, source, refused: HashSet::new(), told, metrics };
        new.count();
        new
    }

    /// The list as it was published last; at first the configuration's servers.
    pub fn members(&self) -> &Arc<Members> {
        self.roster.published()
    }

    /// When [`Registrar::tick`] may have a change; see [`Roster::due`].
    pub fn due(&self) -> Option<Instant> {
        self.roster.due()
    }

    /// Takes in a look at the source; see [`Roster::update`].
    pub fn take(&mut self, reading: Reading, now: Instant) -> Option<Change> {
        let known = !matches!(reading.sightings, super::sighting::Sightings::Unknown);
        let change = self.roster.update(reading.sightings, now);
        if known || !reading.refused.is_empty() {
            let turned_away = self.roster.turned_away().to_vec();
            self.refuse(&reading.refused, &turned_away, now);
        }
        self.publish(change, now)
    }

    /// What time alone changes; see [`Roster::tick`].
    pub fn tick(&mut self, now: Instant) -> Option<Change> {
        let change = self.roster.tick(now);
        self.publish(change, now)
    }

    /// Another configuration; see [`Roster::configure`].
    pub fn configure(
        &mut self,
        fixed: impl IntoIterator<Item = (Arc<str>, Address)>,
        settings: Settings,
        allowed: &Allowed,
        now: Instant,
    ) -> Option<Change> {
        let change = self.roster.configure(fixed, settings, allowed, now);
        self.publish(change, now)
    }

    /// The list as another configuration will make it.
    pub fn preview(
        &self,
        fixed: impl IntoIterator<Item = (Arc<str>, Address)>,
        settings: Settings,
        allowed: &Allowed,
        now: Instant,
    ) -> Arc<Members> {
        let mut roster = self.roster.clone();
        roster.configure(fixed, settings, allowed, now);
        Arc::clone(roster.published())
    }

    fn refuse(&mut self, refused: &[Refused], turned_away: &[Refused], now: Instant) {
        let mut still = HashSet::new();
        for one in refused.iter().chain(turned_away) {
            let mut hasher = DefaultHasher::new();
            one.hash(&mut hasher);
            let hash = hasher.finish();
            if still.len() >= limits::MAX_REFUSED_REMEMBERED || !still.insert(hash) {
                continue;
            }
            if self.refused.contains(&hash) {
                continue;
            }
            let Refused { what, reason } = one;
            self.metrics.refused(self.source, reason.as_str());
            if self.told.is_news(&format!("{} {what}", reason.as_str()), now) {
                let (source, reason) = (self.source, reason.as_str());
                tracing::warn!(source, what, reason, "not taken for an API server");
            }
        }
        self.refused = still;
    }

    fn publish(&mut self, change: Option<Change>, now: Instant) -> Option<Change> {
        let change = change?;
        for (name, news) in &change.news {
            // Where it is now is the news, as often as that is another place; but ever other places are none.
            if self.told.is_news(&format!("{} {name}", news.as_str()), now) {
                let (source, news, address) = (self.source, news.as_str(), news.address());
                tracing::info!(source, server = %name, address, "API server {news}");
            }
        }
        self.count();
        self.metrics.changed();
        Some(change)
    }

    fn count(&self) {
        let members = self.roster.published();
        let count = |state| members.values().filter(|member| member.state == state).count();
        self.metrics.servers(ServersByState {
            fixed: count(State::Static),
            seen: count(State::Seen),
            departed: count(State::Departed),
        });
    }
}

// === impl News ===

impl News {
    /// In a few words, for logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Added(_) => "is new",
            Self::Removed => "is forgotten",
            Self::Moved(_) => "has another address",
            Self::Departed => "is no longer named by its source",
            Self::Returned => "is named by its source again",
            Self::Restarted => "was restarted",
            Self::Adopted => "is in the configuration now",
            Self::Released => "is no longer in the configuration, but named by its source",
        }
    }

    fn address(&self) -> Option<String> {
        match self {
            Self::Added(address) | Self::Moved(address) => Some(address.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::super::sighting::{Reason, Sighting};
    use super::*;
    use crate::metrics::Metrics;

    fn shown(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn what_stays_refused_is_counted_once() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry).sources;
        let mut registrar = Registrar::new([], Settings::default(), "leases", metrics);
        let start = Instant::now();
        let refused = vec![Refused::new("a", Reason::NotAllowed), Refused::new("b", Reason::NoAddress)];
        for second in 0..100 {
            let reading = Reading { refused: refused.clone(), ..Reading::all([]) };
            registrar.take(reading, start + Duration::from_secs(second));
            registrar.take(Reading::unknown(), start + Duration::from_secs(second));
        }
        let text = shown(&registry);
        for reason in ["not-allowed", "no-address"] {
            let line = format!(
                "kube_peer_proxy_peer_source_refused_total{{source=\"leases\",reason=\"{reason}\"}} 1"
            );
            assert!(text.contains(&line), "{text}");
        }
        registrar.take(Reading::all([]), start);
        let again = Reading { refused, ..Reading::all([]) };
        registrar.take(again, start);
        assert!(shown(&registry).contains("reason=\"not-allowed\"} 2"), "it was gone in between");
    }

    #[test]
    fn ever_new_rubbish_takes_bounded_memory() {
        let mut registrar = Registrar::new([], Settings::default(), "leases", Metrics::default().sources);
        for round in 0..3 {
            let rubbish = (0..2 * limits::MAX_REFUSED_REMEMBERED)
                .map(|n| Err(Refused::new(&format!("{round}-{n}"), Reason::BadName)));
            registrar.take(Reading::all(rubbish), Instant::now());
            assert_eq!(registrar.refused.len(), limits::MAX_REFUSED_REMEMBERED);
        }
    }

    #[test]
    fn the_metrics_tell_how_many_servers_there_are_and_why() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry).sources;
        let fixed = [("a".into(), Address::new("127.0.0.1", 6443))];
        let mut registrar = Registrar::new(fixed, Settings::default(), "dns", metrics);
        let allowed = Allowed::new(&["10.0.0.0/8".parse().unwrap()]);
        let at = |last: u8| Sighting::by_address([10, 0, 0, last].into(), 6443, &allowed).unwrap();
        let start = Instant::now();
        registrar.take(Reading::all([Ok(at(1)), Ok(at(2)), Ok(at(3).departed())]), start).unwrap();
        let text = shown(&registry);
        for (state, number) in [("static", 1), ("seen", 2), ("departed", 1)] {
            let line = format!("kube_peer_proxy_peer_source_servers{{state=\"{state}\"}} {number}");
            assert!(text.contains(&line), "{text}");
        }
        assert!(!text.contains("kube_peer_proxy_peer_source_last_change_timestamp_seconds 0.0"), "{text}");
    }
}
