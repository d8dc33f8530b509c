//! The subresource `proxy` of nodes and pods, WebSockets through it included.
//!
//! kube-apiserver refuses loopback addresses there. So the tests of [`inside`] run in a network of their own in
//! which a private address is local: this test binary runs itself there. Needs `unshare` and `ip`, and root or
//! user namespaces.

mod inside;

use std::{
    env, fs,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt as _,
    process::{Command, Output},
};

use super::{fleet, fleets, kit::process::DIES_WITH_PARENT, say};

/// Of node and pod.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Set for whom [`ADDRESS`] is local.
const INSIDE: &str = "KPP_INSIDE_A_NETWORK";

/// Runs something in a new network.
fn in_a_network(words: &[&str]) -> Output {
    let user: &[&str] = match fs::metadata("/proc/self").unwrap().uid() {
        0 => &[],
        _ => &["--user", "--map-root-user"],
    };
    let address = format!("{ADDRESS}/32");
    let setup = r#"ip link set lo up && ip address add "$0" dev lo && exec "$@""#;
    let words =
        [&DIES_WITH_PARENT[..], &["unshare", "--net"], user, &["sh", "-c", setup, &address], words].concat();
    Command::new(words[0]).args(&words[1..]).env(INSIDE, "1").output().expect("setpriv is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tests_inside_a_network_pass() {
    let probe = in_a_network(&["true"]);
    let possible = if probe.status.success() {
        Ok(())
    } else {
        Err(format!("no network of our own: {}", String::from_utf8_lossy(&probe.stderr).trim()))
    };
    fleet!(possible);
    fleet!(super::kit::binaries::Binaries::with(&[]).and_then(|found| found.kubelet().map(drop)));
    let _peace = fleets::peace().await;
    let this = env::current_exe().unwrap();
    let tests = concat!(module_path!(), "::inside::").trim_start_matches("it::");
    let words = [this.to_str().unwrap(), "--ignored", "--test-threads=2", tests];
    let seen = in_a_network(&words);
    let [out, err] = [&seen.stdout, &seen.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(seen.status.success(), "{out}{err}");
    let passed = out.lines().filter(|line| line.starts_with("test real::") && line.ends_with(" ok"));
    let passed: Vec<_> = passed.collect();
    // A filter that matches nothing passes, too.
    assert!(!passed.is_empty() && !err.contains("SKIPPED"), "{out}{err}");
    for line in passed {
        say!("inside a network: {line}");
    }
}
