//! What clients of A see over time when B, a server that has an API of its own, goes away in one way or another:
//! beside A the native Mixed Version Proxy, or we.
//!
//! Both columns are looked at at the same time, each on servers and an etcd of its own. Ours must not have a cell
//! that is wrong (bold); what the native proxy does is only written down.

mod between;
mod cell;
mod column;
mod episodes;
mod look;

use std::{
    iter,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    fleet, fleets,
    kit::{binaries::Version, proxy::Proxy, server::Spec},
    readme, say,
};
use cell::{Cell, strip};
use column::Column;
use look::Notes;

/// The table's name in README.md.
const README: &str = "timeline";

const V1_36: Version = Version(1, 36);
/// A lacks what B and C serve.
const SERVERS: [Spec; 3] = [
    Spec::new("a", V1_36).flags(&["--runtime-config=batch/v1=false"]),
    Spec::new("b", V1_36),
    Spec::new("c", V1_36),
];
/// What B has besides when it comes back with another API set.
const MORE: (&str, [&str; 3]) =
    ("--runtime-config=api/beta=true", ["networking.k8s.io", "v1beta1", "ipaddresses"]);

/// One row: what happened, and what each column has to say.
struct Row {
    event: &'static str,
    native: Cell,
    ours: Cell,
}

/// A cell, and what it was made of.
type Told = (&'static str, Cell, Option<Notes>);

#[derive(Default)]
struct Table(Vec<Row>);

// === impl Table ===

impl Table {
    /// Adds what both columns told, event by event.
    fn add(&mut self, native: Vec<Told>, ours: Vec<Told>) {
        for ((event, native, native_notes), (_, ours, our_notes)) in native.into_iter().zip(ours) {
            say!("| {event} | {native} | {ours} |");
            for (who, notes) in [("native", native_notes), ("ours", our_notes)] {
                let Some(notes) = notes else { continue };
                let [requests, listed, freshness] = strip(&notes);
                say!("    {who:6} requests  {requests}");
                say!("    {who:6} discovery {listed}");
                if !freshness.is_empty() {
                    say!("    {who:6} freshness {freshness}");
                }
            }
            self.0.push(Row { event, native, ours });
        }
    }

    fn print(&self) {
        say!("| event | native 1.36 | kube-peer-proxy |\n| --- | --- | --- |");
        for Row { event, native, ours } in &self.0 {
            say!("| {event} | {native} | {ours} |");
        }
    }

    /// README.md shows this from now on, and what only earlier runs saw as something that is seen at times.
    fn write(&self) {
        let mut shown = readme::Table::read(README);
        let rows = self.0.iter().map(|Row { event, native, ours }| {
            let cells = [native, ours].into_iter().enumerate();
            let cells = cells.map(|(column, cell)| cell.shown_with(shown.cell(event, column + 1)));
            iter::once((*event).to_owned()).chain(cells).collect()
        });
        shown.rows = rows.collect();
        shown.write(&[
            "B and C serve something that A, the way in, does not",
            "native 1.36.3",
            "kube-peer-proxy",
        ]);
    }

    /// README.md has these rows, and nothing wrong in our column, as nothing wrong was seen there. Where it differs
    /// in another way is only told: how fast the machine is decides about what is seen at the edges.
    fn compare(&self) {
        let shown = readme::Table::read(README);
        let told: Vec<_> = shown.rows.iter().map(|cells| cells[0].as_str()).collect();
        let seen: Vec<_> = self.0.iter().map(|row| row.event).collect();
        assert_eq!(told, seen, "README.md has other rows");
        for Row { event, native, ours } in &self.0 {
            let cells = [shown.cell(event, 1), shown.cell(event, 2)];
            assert!(!cells[1].contains("**"), "README.md tells of something wrong: {cells:?}");
            let native = native.contradicted_by(cells[0], false);
            let ours = ours.contradicted_by(cells[1], true);
            native.into_iter().chain(ours).for_each(|what| say!("README.md differs: {event}: {what}"));
        }
    }
}

/// Both columns live through the same at the same time.
async fn both(
    table: &mut Table,
    columns: (&Arc<Column>, &Arc<Column>),
    episode: impl AsyncFn(Arc<Column>) -> Vec<Told>,
) {
    let (native, ours) = tokio::join!(episode(Arc::clone(columns.0)), episode(Arc::clone(columns.1)));
    assert_eq!(native.len(), ours.len());
    table.add(native, ours);
}

fn not_applicable(why: &str) -> Cell {
    let mut cell = Cell::default();
    cell.say(format!("({why})"));
    cell
}

/// Another proxy beside A, that keeps what it knows in a folder.
async fn restarted(column: &Column) -> Arc<Column> {
    let folder = column.cluster.files.path("remembered");
    std::fs::create_dir_all(&folder).unwrap();
    let environment = |name: &str| (name == "KUBE_PEER_PROXY_DISCOVERY_CACHE_DIR").then(|| folder.clone());
    let pair = [("a", "a"), ("b", "b")];
    let here = (Ipv4Addr::LOCALHOST, 0).into();
    let proxy = Proxy::launch_in(column.cluster, here, &pair, Some("a"), |_| (), &environment).await;
    column.through(proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_b_we_never_deny_what_exists() {
    let (binaries, ..) = &fleet!(fleets::killer(&[V1_36]).await);
    let begun = Instant::now();
    let mut table = Table::default();
    let (native, all) = tokio::join!(Column::native(binaries, &SERVERS), Column::ours(binaries, &SERVERS));
    say!("servers are up after {:.0} s", begun.elapsed().as_secs_f32());

    both(&mut table, (&native, &all), episodes::c_serves_it_too).await;
    // C was there for this only. Whoever follows knows of A and B.
    native.cluster.server("c").retire(Duration::from_secs(5)).await;
    all.cluster.server("c").kill();
    let ours = restarted(&all).await;
    let columns = (&native, &ours);
    tokio::join!(episodes::settle(&native), episodes::settle(&ours));

    both(&mut table, columns, episodes::lease_goes).await;
    both(&mut table, columns, episodes::killed).await;
    both(&mut table, columns, episodes::hangs).await;
    both(&mut table, columns, episodes::shut_down).await;
    let apis = episodes::apis_fails(&ours).await;
    table.add(
        vec![(
            "`/apis` of B fails while `/api` works",
            not_applicable("nothing stands between native peers"),
            None,
        )],
        vec![apis],
    );
    table.print();
    let wrong = |cell: fn(&Row) -> &Cell| -> Vec<_> {
        let each = table.0.iter().map(|row| (row.event, cell(row).wrongs()));
        each.filter(|(_, wrongs)| !wrongs.is_empty()).collect()
    };
    let (theirs, of_ours) = (wrong(|row| &row.native), wrong(|row| &row.ours));
    say!(
        "wrong cells: {} native, {} ours; {:.0} s",
        theirs.len(),
        of_ours.len(),
        begun.elapsed().as_secs_f32()
    );
    native.cluster.kill_all();
    all.cluster.kill_all();
    assert!(of_ours.is_empty(), "{of_ours:#?}");
    if readme::is_to_be_written() {
        table.write();
    } else {
        table.compare();
    }
}
