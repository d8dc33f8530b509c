//! Completions, manual pages, and which build it is.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output},
};

use crate::explain::{PLUGIN, PROGRAM};

#[path = "../../build.rs"]
#[allow(dead_code)]
mod build_script;

fn text_of(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.env_remove("KUBECONFIG").output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn program(arguments: &[&str]) -> String {
    text_of(Command::new(PROGRAM).args(arguments))
}

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    for (shell, both) in [("bash", true), ("zsh", false), ("fish", true)] {
        let script = program(&["completions", shell]);
        for word in ["serve", "explain", "completions", "stale-after"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        assert_eq!(script.contains("kubectl-peers"), both, "{shell}");
    }
}

#[test]
fn bash_completes_a_command_by_the_script() {
    let script = program(&["completions", "bash"]);
    let ask = "COMP_WORDS=(kube-peer-proxy exp); COMP_CWORD=1; _kube__peer__proxy kube-peer-proxy exp kube-peer-proxy; echo \"${COMPREPLY[@]}\"";
    let reply = text_of(Command::new("bash").args(["--norc", "-c", &format!("{script}\n{ask}")]));
    assert_eq!(reply.trim(), "explain");
}

#[test]
fn kubectl_is_told_candidates_in_its_own_form() {
    let ask =
        |words: &[&str]| text_of(Command::new(PLUGIN).arg0("/usr/bin/kubectl_complete-peers").args(words));
    let commands = ask(&[""]);
    assert!(commands.contains("inspect\tWhat does each API server serve"), "{commands}");
    assert!(commands.contains("explain\tSay which API server"), "{commands}");
    assert!(commands.ends_with(":4\n"), "{commands}");
    let flags = ask(&["explain", "--as"]);
    assert!(flags.contains("--as-user\t") && !flags.contains("--verb"), "{flags}");
    assert!(ask(&["explain", "-o", "y"]).starts_with("yaml\t"));
    assert_eq!(ask(&["explain", "--verb", ""]), ":4\n");
    assert_eq!(ask(&["inspect", "--kubeconfig", ""]), ":0\n", "files are the shell's to name");
    assert_eq!(ask(&["nonsense", "x"]), ":4\n");
}

#[test]
fn every_command_has_a_manual_page() {
    let page = program(&["man"]);
    assert!(page.contains(".TH kube-peer-proxy 1") && page.contains("explain"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    program(&["man", dir.to_str().unwrap()]);
    for name in [
        "kube-peer-proxy",
        "kube-peer-proxy-serve",
        "kube-peer-proxy-explain",
        "kube-peer-proxy-config-check",
        "kubectl-peers-explain",
    ] {
        let page = std::fs::read_to_string(dir.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    let again = folder.path().join("again");
    program(&["man", again.to_str().unwrap()]);
    let serve = |dir: &Path| std::fs::read(dir.join("kube-peer-proxy-serve.1")).unwrap();
    assert_eq!(serve(&dir), serve(&again), "no date, no machine");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = Command::new(PROGRAM).arg("man").arg(&file).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn both_programs_say_version_and_commit() {
    let version = program(&["--version"]);
    let rest =
        version.trim().strip_prefix(&format!("kube-peer-proxy {}", env!("CARGO_PKG_VERSION"))).unwrap();
    if let Some(told) = rest.strip_prefix(" (") {
        let (commit, date) =
            told.trim_end_matches(')').split_once(", ").unwrap_or_else(|| (told.trim_end_matches(')'), ""));
        assert!(commit.len() <= 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
        assert!(date.is_empty() || date.len() == "2026-01-31".len(), "{version}");
    } else {
        assert_eq!(rest, "", "built from sources without a history");
    }
    assert_eq!(
        text_of(Command::new(PLUGIN).arg("--version")).trim(),
        version.trim().replace("kube-peer-proxy", "kubectl-peers")
    );
}

#[test]
fn the_commit_is_that_of_the_sources_and_of_no_repository_around_them() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example", "-c", "init.defaultBranch=main"];
        let mut command = Command::new("git");
        command.arg("-C").arg(top).args(who).args(arguments);
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(variable);
        }
        command.env("GIT_COMMITTER_DATE", "2020-02-03T04:05:06+00:00");
        assert!(command.output().unwrap().status.success(), "{arguments:?}");
    };
    assert_eq!(build_script::last_commit(top), None, "no repository");
    git(&["init"]);
    assert_eq!(build_script::last_commit(top), None, "no commit");
    git(&["commit", "--allow-empty", "-m", "x"]);
    let line = build_script::last_commit(top).unwrap();
    let (commit, text) = build_script::described("0.1.0", Some(&line));
    assert_eq!(commit.len(), 12);
    assert_eq!(text, format!("0.1.0 ({commit}, 2020-02-03)"));
    let inner = top.join("unpacked");
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(build_script::last_commit(&inner), None, "somebody else's repository");
}

#[test]
fn without_a_history_the_commit_is_what_the_environment_says_or_nothing() {
    for (line, commit, text) in [
        (None, "", "0.1.0"),
        (Some(" "), "", "0.1.0"),
        (Some("abc1234"), "abc1234", "0.1.0 (abc1234)"),
        (Some("0123456789abcdef 2026-11-21\n"), "0123456789ab", "0.1.0 (0123456789ab, 2026-11-21)"),
    ] {
        assert_eq!(build_script::described("0.1.0", line), (commit.to_owned(), text.to_owned()));
    }
}
