//! Every client, and what it can do with a resource that only a peer serves.
//!
//! The table of the README is what the first test prints.

mod ages;
mod clients;
mod commands;
mod expectations;
mod faithful;
mod subject;
mod table;

use futures_util::StreamExt as _;

use self::{
    subject::{CLAIMS, CRON_JOBS, POLICIES, Subject},
    table::Table,
};
use super::{
    fleet,
    fleets::{self, Fleet},
    kit::{binaries::Version, files::Who, kubectl::Kubectl, proxy::Proxy},
    native::native_document,
    say,
};

/// The oldest; the last before aggregated discovery; the first that asks for version 2 of it; the newest.
const AGES_OF_KUBECTL: [Version; 4] = [Version(1, 20), Version(1, 25), Version(1, 30), Version(1, 37)];
/// As many at a time. Two processors are enough for it.
const AT_A_TIME: usize = 3;

/// Has every version do everything at each of `urls`, where `right` is the URL of a server that serves everything.
async fn kubectls(
    fleet: &Fleet,
    versions: Vec<Version>,
    subject: &Subject,
    right: &str,
    urls: &[(&str, &str)],
) -> Vec<Table> {
    let rows = futures_util::stream::iter(versions).map(async |version| {
        let kubectl = |url: &str| Kubectl::new(fleet.binaries, version, &fleet.files, url, Who::Admin);
        let truth = kubectl(right);
        let expected = commands::expected(&truth, subject).await;
        let mut cells = Vec::new();
        for (place, url) in urls {
            let here = kubectl(url);
            let mut row = commands::read(&here, subject, &expected).await;
            let name = format!("{place}-{}-{}", version.0, version.1);
            row.extend(commands::write(&here, &truth, subject, &name).await);
            cells.push(row);
        }
        (version, cells)
    });
    let rows: Vec<_> = rows.buffer_unordered(AT_A_TIME).collect().await;
    let mut tables: Vec<_> = urls.iter().map(|_| Table::default()).collect();
    for (version, cells) in rows {
        for (table, cells) in tables.iter_mut().zip(cells) {
            table.add(&format!("kubectl {version}"), cells);
        }
    }
    tables
}

fn no_failure(table: &Table) {
    let failures = table.failures();
    assert!(failures.is_empty(), "{} fail, {} are ok:\n{}", failures.len(), table.ok(), failures.join("\n"));
    assert!(table.ok() > 0);
}

/// `a` lacks batch/v1 and `b` serves everything, both with Kubernetes' own proxy on: first at `a` itself, then through
/// us beside `a`.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_sees_what_only_a_peer_serves_where_the_native_proxy_fails_many() {
    let fleet = fleet!(fleets::native().await);
    fleet!(clients::all(fleet.binaries, &CRON_JOBS));
    native_document(&fleet).await;
    let proxy = Proxy::of(fleet.cluster, Some("a")).await;
    let (right, native, us) = (fleet.server("b").url(), fleet.server("a").url(), proxy.url());
    let versions = fleet.binaries.kubectls.keys().copied().collect();
    let places = [("native", native.as_str()), ("us", us.as_str())];
    let tables = kubectls(&fleet, versions, &CRON_JOBS, &right, &places).await;
    let at = async |url| clients::table(fleet.binaries, &fleet.files, &CRON_JOBS, &right, url).await;
    let others = [at(&native).await, at(&us).await];
    say!(
        "for a resource that only a peer serves: native 1.36 → this proxy\n\n{}",
        tables[1].beside(&tables[0])
    );
    say!("{}", others[1].beside(&others[0]));
    say!("what failed at the native proxy:\n{}", tables[0].failures().join("\n"));
    say!("{}", others[0].failures().join("\n"));
    // Of old ones, all commands that need to know the resource, and `explain` of all.
    assert!(tables[0].failures().len() > 100, "the native proxy has become better");
    no_failure(&tables[1]);
    no_failure(&others[1]);
    proxy.stop().await;
}

/// `home` lacks the subject, and `right` serves whatever one of the two does.
async fn a_pair(home: &'static str, right: &'static str, subject: &Subject) {
    let fleet = fleet!(fleets::versions().await);
    fleet!(clients::all(fleet.binaries, subject));
    let proxy = Proxy::start(fleet.cluster, &[(home, home), (right, right)], Some(home), |_| ()).await;
    let (url, truth) = (proxy.url(), fleet.server(right).url());
    let versions: Vec<_> =
        fleet.binaries.kubectls.keys().copied().filter(|v| AGES_OF_KUBECTL.contains(v)).collect();
    let tables = kubectls(&fleet, versions, subject, &truth, &[(home, &url)]).await;
    no_failure(&tables[0]);
    no_failure(&clients::table(fleet.binaries, &fleet.files, subject, &truth, &url).await);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_all_ages_see_what_1_36_serves_through_a_home_of_1_35() {
    a_pair("v135", "v136", &POLICIES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_all_ages_see_what_1_35_serves_through_a_home_of_1_32() {
    a_pair("v132", "v135", &CLAIMS).await;
}
