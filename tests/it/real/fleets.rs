//! The sets of servers that the tests share. Starting one takes a while; each is started by the first test
//! that needs it and ends with the process.

use std::ops::Deref;

use tokio::sync::{Mutex, MutexGuard, OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::kit::{
    binaries::{Binaries, Version},
    cluster::Cluster,
    server::Spec,
};

const V1_20: Version = Version(1, 20);
const V1_32: Version = Version(1, 32);
const V1_35: Version = Version(1, 35);
const V1_36: Version = Version(1, 36);

const UID: &str = "--requestheader-uid-headers=X-Remote-Uid";

/// The oldest first, so that what all share is of its kind, and the one that serves most last: a server that starts
/// deletes the APIService objects of what it does not serve itself, and of those the unaggregated lists of all are made.
/// `v132` knows no header for UIDs and `v135` was not told one; `less` is as old as `v132` but has the alpha gate for
/// it, and lacks all of batch/v1.
const VERSIONS: [Spec; 4] = [
    Spec::new("less", V1_32).flags(&[
        UID,
        "--feature-gates=RemoteRequestHeaderUID=true",
        "--runtime-config=batch/v1=false",
    ]),
    Spec::new("v132", V1_32),
    Spec::new("v135", V1_35),
    Spec::new("v136", V1_36).flags(&[UID]),
];
/// The two that differ most, for who wants them at less cost.
const PAIR: [Spec; 2] = [Spec::new("v132", V1_32), Spec::new("v136", V1_36).flags(&[UID])];
/// Two that proxy for each other by themselves; each has something that the other lacks.
const NATIVE: [Spec; 2] = [
    Spec::new("a", V1_36).flags(&[UID, "--runtime-config=batch/v1=false"]).native(),
    Spec::new("b", V1_36).flags(&[UID, "--runtime-config=api/beta=true"]).native(),
];
/// Of three ages, for who looks at one alone, or at those that differ most: only `new` and `middle` speak aggregated
/// discovery, and only `middle` version 2beta1 of it. They share no objects: `old` cannot read all that `new` stores,
/// and each deletes the APIService objects of versions that it does not know.
const AGES: [Spec; 3] = [
    Spec::new("new", V1_36).flags(&[UID]),
    Spec::new("middle", V1_32).flags(&["--etcd-prefix=/middle"]),
    Spec::new("old", V1_20).flags(&["--etcd-prefix=/old"]),
];
/// Of two clusters, each with its own of everything.
const APART: [Spec; 2] = [Spec::new("a", V1_35), Spec::new("b", V1_36).flags(&[UID])];
/// For tests that kill: what only 1.36 serves, two of them serve.
const MORTALS: [Spec; 3] = [
    Spec::new("old", V1_35).flags(&[UID]),
    Spec::new("new1", V1_36).flags(&[UID]),
    Spec::new("new2", V1_36).flags(&[UID]),
];

/// A fleet that a test may use now.
pub(super) struct Fleet<G = Peace> {
    pub(super) cluster: &'static Cluster,
    pub(super) binaries: &'static Binaries,
    _guard: G,
}

/// Others may be at work as well.
pub(super) type Peace = RwLockReadGuard<'static, ()>;
/// Nobody else is at work, so that times mean something.
pub(super) type Quiet = RwLockWriteGuard<'static, ()>;

static MACHINE: RwLock<()> = RwLock::const_new(());

impl<G> Deref for Fleet<G> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

async fn started(
    cell: &'static OnceCell<Cluster>,
    name: &str,
    specs: &[Spec],
) -> Result<(&'static Cluster, &'static Binaries), String> {
    let versions: Vec<Version> = specs.iter().map(|spec| spec.version).collect();
    let binaries = Binaries::with(&versions)?;
    Ok((cell.get_or_init(|| Cluster::start(name, binaries, specs)).await, binaries))
}

static SHARED: OnceCell<Cluster> = OnceCell::const_new();

/// 1.32, 1.35 and 1.36, and a 1.32 that lacks batch/v1.
pub(super) async fn versions() -> Result<Fleet, String> {
    let (cluster, binaries) = started(&SHARED, "versions", &VERSIONS).await?;
    Ok(Fleet { cluster, binaries, _guard: MACHINE.read().await })
}

/// The same, with the machine to oneself.
pub(super) async fn versions_alone() -> Result<Fleet<Quiet>, String> {
    let (cluster, binaries) = started(&SHARED, "versions", &VERSIONS).await?;
    Ok(Fleet { cluster, binaries, _guard: MACHINE.write().await })
}

/// 1.32 and 1.36, for a process that needs no more.
pub(super) async fn pair() -> Result<Fleet, String> {
    static CELL: OnceCell<Cluster> = OnceCell::const_new();
    let (cluster, binaries) = started(&CELL, "pair", &PAIR).await?;
    Ok(Fleet { cluster, binaries, _guard: MACHINE.read().await })
}

/// For who starts servers elsewhere.
pub(super) async fn peace() -> Peace {
    MACHINE.read().await
}

/// Two 1.36 with their own Mixed Version Proxy on.
pub(super) async fn native() -> Result<Fleet, String> {
    static CELL: OnceCell<Cluster> = OnceCell::const_new();
    let (cluster, binaries) = started(&CELL, "native", &NATIVE).await?;
    Ok(Fleet { cluster, binaries, _guard: MACHINE.read().await })
}

/// A 1.35 and a 1.36 with a PKI and an etcd of its own each.
pub(super) async fn apart() -> Result<(Fleet, Fleet), String> {
    static CELLS: [OnceCell<Cluster>; 2] = [OnceCell::const_new(), OnceCell::const_new()];
    let [of_a, of_b] = &APART;
    let (a, binaries) = started(&CELLS[0], "apart-a", std::slice::from_ref(of_a)).await?;
    let (b, _) = started(&CELLS[1], "apart-b", std::slice::from_ref(of_b)).await?;
    let of = async |cluster| Fleet { cluster, binaries, _guard: MACHINE.read().await };
    Ok((of(a).await, of(b).await))
}

/// 1.36, 1.32 and 1.20, each with objects of its own.
pub(super) async fn ages() -> Result<Fleet, String> {
    static CELL: OnceCell<Cluster> = OnceCell::const_new();
    let (cluster, binaries) = started(&CELL, "ages", &AGES).await?;
    Ok(Fleet { cluster, binaries, _guard: MACHINE.read().await })
}

static MORTAL: OnceCell<Cluster> = OnceCell::const_new();
/// One test kills at a time.
static KILLER: Mutex<()> = Mutex::const_new(());

/// One 1.35 and two 1.36 that may be killed, by one test at a time.
pub(super) async fn mortals() -> Result<Fleet<(MutexGuard<'static, ()>, Peace)>, String> {
    let killer = KILLER.lock().await;
    let (cluster, binaries) = started(&MORTAL, "mortals", &MORTALS).await?;
    Ok(Fleet { cluster, binaries, _guard: (killer, MACHINE.read().await) })
}

/// For who starts and kills servers of his own, one at a time.
pub(super) async fn killer(
    versions: &[Version],
) -> Result<(&'static Binaries, MutexGuard<'static, ()>, Peace), String> {
    let binaries = Binaries::with(versions)?;
    Ok((binaries, KILLER.lock().await, MACHINE.read().await))
}

/// The same, with the machine to oneself.
pub(super) async fn mortals_alone() -> Result<Fleet<(MutexGuard<'static, ()>, Quiet)>, String> {
    let killer = KILLER.lock().await;
    let (cluster, binaries) = started(&MORTAL, "mortals", &MORTALS).await?;
    Ok(Fleet { cluster, binaries, _guard: (killer, MACHINE.write().await) })
}
