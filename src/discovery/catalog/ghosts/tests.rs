use super::*;
use crate::{api::discovery::GroupDiscoveryList, discovery::catalog::Part, servers::watched::ApiService};

const WIDGETS: &str = "example.com/v1/widgets";
const GADGETS: &str = "example.com/v1/gadgets";
const OLD_WIDGETS: &str = "example.com/v1beta1/widgets";
const METRICS: &str = "metrics.example/v1/nodes";
const BUILT_IN: &str = "apps/v1/deployments";

fn name(group: &str, name: &str) -> Name {
    (group.to_owned(), name.to_owned())
}

fn split(text: &str) -> GroupVersionResource {
    let [group, version, resource] = text.split('/').collect::<Vec<_>>()[..] else { panic!("{text}") };
    GroupVersionResource { group: group.into(), version: version.into(), resource: resource.into() }
}

/// Lists these, each in a group of its own unless they stand beside each other.
fn document(listed: &[&str]) -> Arc<Document> {
    let mut groups: BTreeMap<String, BTreeMap<String, Vec<serde_json::Value>>> = BTreeMap::new();
    for GroupVersionResource { group, version, resource } in listed.iter().map(|text| split(text)) {
        let resources = groups.entry(group).or_default().entry(version).or_default();
        if !resource.is_empty() {
            resources.push(serde_json::json!({ "resource": resource, "scope": "Cluster", "verbs": ["get"] }));
        }
    }
    let items: Vec<_> = groups
        .into_iter()
        .map(|(group, versions)| {
            let version =
                |(version, resources)| serde_json::json!({ "version": version, "resources": resources });
            let versions: Vec<_> = versions.into_iter().map(version).collect();
            serde_json::json!({ "metadata": { "name": group }, "versions": versions })
        })
        .collect();
    let text = serde_json::json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items,
    });
    let list = GroupDiscoveryList::parse(text.to_string().as_bytes()).unwrap();
    Arc::new(Document { apis: Part { list, etag: None }, ..Document::default() })
}

/// Informers that are in step at a revision.
fn board(until: u64) -> Custom {
    let built_in = ApiService { maker: Maker::BuiltIn, revision: 1 };
    Custom {
        storage: Some("one".into()),
        apiservices: [(name("", "v1"), built_in), (name("apps", "v1"), built_in)].into(),
        crds_until: until,
        apiservices_until: until,
        synced: true,
        ..Custom::default()
    }
}

fn lists(document: &Document, key: &GroupVersionResource) -> bool {
    let mut of =
        versions(document).filter(|(group, version)| *group == key.group && version.version == key.version);
    of.any(|(_, version)| key.resource.is_empty() || resources(version).any(|name| name == key.resource))
}

trait With {
    fn defines(self, group: &str, plural: &str, revision: u64) -> Self;
    fn registers(self, group: &str, version: &str, maker: Maker, revision: u64) -> Self;
    fn widgets(self, revision: u64) -> Self;
}

impl With for Custom {
    fn defines(mut self, group: &str, plural: &str, revision: u64) -> Self {
        self.crds.insert(name(group, plural), revision);
        self
    }

    fn registers(mut self, group: &str, version: &str, maker: Maker, revision: u64) -> Self {
        self.apiservices.insert(name(group, version), ApiService { maker, revision });
        self
    }

    /// With their APIService.
    fn widgets(self, revision: u64) -> Self {
        self.defines("example.com", "widgets", revision).registers(
            "example.com",
            "v1",
            Maker::Definitions,
            revision + 1,
        )
    }
}

/// Two servers: number 0 is asked by callers, number 1 goes away.
struct Stage {
    servers: Vec<Knowledge>,
    memory: Memory,
    fetches: u64,
}

const HERE: usize = 0;
const AWAY: usize = 1;

impl Stage {
    /// Both are watched and serve this.
    fn new(board: &Custom, listed: &[&str]) -> Self {
        let mut stage =
            Self { servers: vec![Knowledge::default(); 2], memory: Memory::default(), fetches: 0 };
        for server in [HERE, AWAY] {
            stage.fetch(server, listed).watch(server, board.clone());
        }
        stage
    }

    fn fetch(&mut self, server: usize, listed: &[&str]) -> &mut Self {
        self.fetches += 1;
        self.servers[server].fetched(Some(document(listed)), true);
        self.servers[server].set_fetched_at(self.fetches);
        self.judge()
    }

    fn watch(&mut self, server: usize, board: Custom) -> &mut Self {
        self.memory.learn(&board);
        self.servers[server].watched(Arc::new(board));
        self.judge()
    }

    /// Its informers end with it.
    fn lose(&mut self, server: usize) -> &mut Self {
        let board = Custom { synced: false, ..Custom::clone(self.servers[server].board()) };
        self.servers[server].contact_lost();
        self.watch(server, board)
    }

    fn change(&mut self, server: usize, change: impl FnOnce(&mut Knowledge)) -> &mut Self {
        change(&mut self.servers[server]);
        self.judge()
    }

    fn judge(&mut self) -> &mut Self {
        judge(&mut self.servers, &self.memory);
        self
    }

    /// Of what the server that is away listed.
    fn gone(&self) -> Vec<String> {
        let known = &self.servers[AWAY];
        let counted = known.counts().unwrap();
        for key in known.gone().keys() {
            assert!(!lists(counted, key), "{key}");
            assert!(lists(known.document.as_ref().unwrap(), key), "{key}");
        }
        assert!(self.servers[HERE].gone().is_empty());
        known.gone().keys().map(ToString::to_string).collect()
    }
}

/// The widgets were deleted, and the only server that is left was asked since.
fn deleted() -> Stage {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS, BUILT_IN]);
    stage.lose(AWAY).watch(HERE, board(20)).fetch(HERE, &[BUILT_IN]);
    stage
}

#[test]
fn a_deleted_definition_is_gone_and_what_is_built_in_stays() {
    let stage = deleted();
    assert_eq!(stage.gone(), ["example.com/v1 widgets"]);
    let counted = stage.servers[AWAY].counts().unwrap();
    assert!(counted.has("apps", Some("v1")) && !counted.has("example.com", None));
}

#[test]
fn of_a_group_version_only_what_is_gone_is_left_out() {
    let both = |until| board(until).widgets(4).defines("example.com", "gadgets", 4);
    let mut stage = Stage::new(&both(10), &[WIDGETS, GADGETS]);
    let without = board(20).widgets(4);
    stage.lose(AWAY).watch(HERE, without).fetch(HERE, &[WIDGETS]);
    assert_eq!(stage.gone(), ["example.com/v1 gadgets"]);
    assert!(lists(stage.servers[AWAY].counts().unwrap(), &split(WIDGETS)));
}

#[test]
fn a_version_that_no_definition_serves_any_more_is_gone_while_the_definition_is_there() {
    let both = |until| board(until).widgets(4).registers("example.com", "v1beta1", Maker::Definitions, 5);
    let mut stage = Stage::new(&both(10), &[WIDGETS, OLD_WIDGETS]);
    stage.lose(AWAY).watch(HERE, board(20).widgets(12)).fetch(HERE, &[WIDGETS]);
    assert_eq!(stage.gone(), ["example.com/v1beta1 widgets"]);
}

#[test]
fn an_aggregated_api_is_gone_with_its_apiservice_also_if_nothing_was_known_of_it() {
    for listed in [METRICS, "metrics.example/v1/"] {
        let with = board(10).registers("metrics.example", "v1", Maker::Aggregation, 4);
        let mut stage = Stage::new(&with, &[listed]);
        stage.lose(AWAY).watch(HERE, board(20)).fetch(HERE, &[BUILT_IN]);
        assert_eq!(stage.gone().len(), 1, "{listed}");
        assert!(!stage.servers[AWAY].counts().unwrap().has("metrics.example", None));
    }
}

#[test]
fn a_definition_that_a_fresh_server_does_not_list_yet_stays() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    stage.lose(AWAY).watch(HERE, board(20).widgets(4)).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty());
}

#[test]
fn what_a_fresh_server_lists_stays_whatever_its_informers_say() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    stage.lose(AWAY).watch(HERE, board(20)).fetch(HERE, &[WIDGETS]);
    assert!(stage.gone().is_empty());
}

#[test]
fn an_informer_that_lags_behind_the_last_sight_of_a_definition_proves_nothing() {
    let mut stage = Stage::new(&board(10), &[BUILT_IN]);
    stage.watch(AWAY, board(15).widgets(12)).fetch(AWAY, &[WIDGETS]).lose(AWAY);
    stage.watch(HERE, board(11)).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty(), "it was made at 12");
    stage.watch(HERE, board(13));
    assert_eq!(stage.gone(), ["example.com/v1 widgets"], "and deleted before 13");
}

#[test]
fn discovery_that_was_read_before_that_of_the_server_in_question_proves_nothing() {
    let mut stage = Stage::new(&board(10).widgets(4), &[BUILT_IN]);
    stage.watch(HERE, board(20)).fetch(AWAY, &[WIDGETS]).lose(AWAY);
    assert!(stage.gone().is_empty());
    stage.fetch(HERE, &[BUILT_IN]);
    assert_eq!(stage.gone().len(), 1);
}

#[test]
fn only_a_fresh_server_whose_informers_are_in_step_and_whose_storage_it_is_is_a_witness() {
    type Spoil = fn(&mut Stage);
    let spoils: [(&str, Spoil); 6] = [
        ("its connection died", |stage| {
            stage.watch(HERE, Custom { synced: false, ..board(20) });
        }),
        ("another storage", |stage| {
            stage.watch(HERE, Custom { storage: Some("two".into()), ..board(20) });
        }),
        ("no storage", |stage| {
            stage.watch(HERE, Custom { storage: None, ..board(20) });
        }),
        ("revisions that are no numbers", |stage| {
            stage.watch(HERE, Custom { crds_until: 0, apiservices_until: 0, ..board(20) });
        }),
        ("stale", |stage| {
            stage.change(HERE, Knowledge::contact_lost).watch(HERE, board(20));
        }),
        ("in doubt", |stage| {
            stage.change(HERE, Knowledge::doubt).watch(HERE, board(20));
        }),
    ];
    for (why, spoil) in spoils {
        let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
        stage.lose(AWAY).fetch(HERE, &[BUILT_IN]);
        spoil(&mut stage);
        assert!(stage.gone().is_empty(), "{why}");
    }
}

#[test]
fn without_informers_nothing_is_ever_gone() {
    let mut stage = Stage::new(&Custom::default(), &[WIDGETS, METRICS, BUILT_IN]);
    stage.lose(AWAY).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty());
}

#[test]
fn what_is_built_in_is_never_gone_even_if_a_definition_has_its_name() {
    let with =
        |until| board(until).defines("apps", "deployments", 4).registers("apps", "v1", Maker::BuiltIn, 2);
    let mut stage = Stage::new(&with(10), &[BUILT_IN, "/v1/pods"]);
    stage.lose(AWAY).watch(HERE, board(20)).fetch(HERE, &[WIDGETS]);
    assert!(stage.gone().is_empty(), "its APIService was never that of a definition");

    // What was a custom resource is built into the next release, which registers it as its own.
    let mut stage = deleted();
    stage.watch(HERE, board(30).registers("example.com", "v1", Maker::BuiltIn, 25));
    assert!(stage.gone().is_empty());
}

#[test]
fn what_was_registered_anew_counts_again() {
    let mut stage = deleted();
    stage.watch(HERE, board(31).widgets(30));
    assert!(stage.gone().is_empty());
    stage.watch(HERE, board(40));
    assert_eq!(stage.gone().len(), 1, "and is gone once more");
}

#[test]
fn an_extension_server_in_the_place_of_definitions_decides_what_is_in_a_group_version() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    let aggregated = board(20).registers("example.com", "v1", Maker::Aggregation, 15);
    stage.lose(AWAY).watch(HERE, aggregated).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty());
}

#[test]
fn what_is_gone_stays_so_without_witnesses_until_the_server_was_asked_again() {
    let mut stage = deleted();
    stage.lose(HERE);
    assert_eq!(stage.gone().len(), 1, "nobody is left");
    stage.change(AWAY, Knowledge::contact_back);
    assert_eq!(stage.gone().len(), 1, "it is there, and was not asked yet");
    stage.change(AWAY, Knowledge::fetch_failed);
    assert_eq!(stage.gone().len(), 1, "it can't be asked");
    stage.fetch(AWAY, &[WIDGETS]);
    assert!(stage.gone().is_empty(), "it says so itself, now");
    assert!(lists(stage.servers[AWAY].counts().unwrap(), &split(WIDGETS)));
}

#[test]
fn a_fresh_servers_own_word_counts_though_informers_say_otherwise() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    stage.watch(HERE, board(20)).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty());
}

#[test]
fn a_server_that_left_is_judged_like_one_that_is_lost() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    stage.watch(HERE, board(20)).fetch(HERE, &[BUILT_IN]).change(AWAY, |known| known.departed = true);
    assert_eq!(stage.gone().len(), 1);
}

#[test]
fn i8_a_server_that_cannot_be_watched_may_have_a_storage_of_its_own() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    stage.servers[AWAY] = Knowledge::default();
    stage.fetch(AWAY, &[WIDGETS]).lose(AWAY).watch(HERE, board(20)).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty());
}

#[test]
fn i8_what_a_server_listed_while_nobody_watched_it_may_have_been_made_anew() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    let silent = Custom { synced: false, ..board(10).widgets(4) };
    stage.watch(AWAY, silent).fetch(AWAY, &[WIDGETS]).lose(AWAY);
    // Deleted at 12, made anew at 30, of which only the other server knows.
    stage.watch(HERE, board(20)).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty());
    let remembered = stage.memory.of(&stage.servers[AWAY]);
    assert_eq!(remembered.storage, None, "nor is it proven after a restart");
    stage.watch(AWAY, board(40).widgets(30)).lose(AWAY);
    assert!(stage.gone().is_empty(), "it was made at 30");
    stage.watch(HERE, board(41));
    assert_eq!(stage.gone().len(), 1);
}

#[test]
fn i8_a_witness_that_lags_behind_the_last_sight_of_the_apiservice_proves_nothing() {
    let mut stage = Stage::new(&board(10).widgets(4), &[WIDGETS]);
    let moved = board(20).registers("example.com", "v1", Maker::Aggregation, 15);
    stage.watch(AWAY, moved).fetch(AWAY, &[WIDGETS]).lose(AWAY);
    let lags = board(20).registers("example.com", "v1", Maker::Definitions, 5);
    stage.watch(HERE, Custom { apiservices_until: 12, ..lags }).fetch(HERE, &[BUILT_IN]);
    assert!(stage.gone().is_empty(), "an extension server has it now");
}

#[test]
fn what_was_remembered_over_a_restart_is_gone_without_a_witness_and_proven_with_one() {
    let before = deleted();
    let remembered = before.memory.of(&before.servers[AWAY]);
    let restarted = |gone: Gone| {
        let mut stage =
            Stage { servers: vec![Knowledge::default(); 2], memory: Memory::default(), fetches: 0 };
        stage.memory.recall("one", remembered.named.clone());
        let document = document(&[WIDGETS, BUILT_IN]);
        stage.servers[AWAY].recall(document, remembered.storage.as_deref(), gone);
        stage.judge();
        stage
    };
    let mut stage = restarted(remembered.gone.clone());
    assert_eq!(stage.gone().len(), 1);
    stage.watch(HERE, board(50).widgets(44));
    assert!(stage.gone().is_empty(), "made anew while we were away");

    let mut stage = restarted(Gone::new());
    assert!(stage.gone().is_empty());
    stage.fetch(HERE, &[BUILT_IN]).watch(HERE, board(50));
    assert_eq!(stage.gone().len(), 1, "what is remembered of the definition tells that it was one");
}

#[test]
fn what_nobody_has_or_lists_is_forgotten_when_it_is_too_much() {
    let mut memory = Memory::default();
    let definitions = |range: std::ops::Range<usize>| {
        let named = range.map(|number| (name("example.com", &format!("n{number}")), 1)).collect();
        Named { definitions: named, services: BTreeMap::new() }
    };
    let mut known = Knowledge::default();
    known.fetched(Some(document(&["example.com/v1/n0"])), true);
    known.watched(Arc::new(board(1).defines("example.com", "n1", 1)));
    let most = limits::MAX_REMEMBERED_REGISTRATIONS;
    memory.recall("one", definitions(0..most));
    memory.bound(std::slice::from_ref(&known));
    assert_eq!(memory.0["one"].definitions.len(), most);
    memory.recall("one", definitions(most..most + 1));
    memory.bound(std::slice::from_ref(&known));
    let left: Vec<_> = memory.0["one"].definitions.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(left, ["n0", "n1"]);
}
