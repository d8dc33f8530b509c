//! Clients that are not kubectl: kube-rs, the Python client, controller-runtime's RESTMapper.

use std::{env, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use super::{
    super::kit::{
        binaries::Binaries,
        files::{Files, Who},
    },
    subject::Subject,
    table::{Cell, Table},
};

/// The words that start each, by what it is called in the table.
pub(crate) fn all(
    binaries: &Binaries,
    subject: &Subject,
) -> Result<Vec<(&'static str, Vec<String>)>, String> {
    let text = |path: &Path| path.display().to_string();
    let (rust, go) = (text(binaries.client("kube-rs")?), text(binaries.client("restmapper")?));
    binaries.client("python")?;
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/python/discover.py").to_owned();
    let Subject { group, version, kind, resource, .. } = *subject;
    let group_version = subject.group_version();
    let of_version = format!("{group_version}/{kind}");
    let of_group = format!("{group}/{kind}");
    let plural = format!("resource={resource}");
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    Ok(vec![
        ("kube-rs `Discovery::run`", words(&[&rust, "run"])),
        ("kube-rs `Discovery::run_aggregated`", words(&[&rust, "aggregated"])),
        ("kube-rs `discovery::oneshot`", words(&[&rust, "oneshot", group, version, kind])),
        ("Python, everything, lazily", words(&["python3", &python, "lazy"])),
        ("Python, everything, eagerly", words(&["python3", &python, "eager"])),
        ("Python, one kind", words(&["python3", &python, "lazy", &group_version, kind])),
        ("controller-runtime RESTMapper", words(&[&go, &of_version, &of_group, &plural])),
    ])
}

async fn run(binaries: &Binaries, words: &[String], config: &Path) -> Result<String, String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("KUBECONFIG", config).env("PYTHONPATH", binaries.client("python")?);
    command.env_remove("HTTPS_PROXY").kill_on_drop(true);
    let ended = tokio::time::timeout(super::super::kit::DEADLINE, command.output()).await;
    let ended = ended.map_err(|_| "hangs".to_owned())?.map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if !ended.status.success() {
        let said = text(&ended.stderr);
        return Err(said.lines().rfind(|line| !line.is_empty()).unwrap_or_default().to_owned());
    }
    Ok(text(&ended.stdout))
}

/// One row for each; what is right is asked at `right`.
pub(crate) async fn table(
    binaries: &Binaries,
    files: &Files,
    subject: &Subject,
    right: &str,
    url: &str,
) -> Table {
    let [at_right, at_url] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let right = files.kubeconfig(at_right.path(), right, Who::Admin);
    let here = files.kubeconfig(at_url.path(), url, Who::Admin);
    let mut table = Table::default();
    for (name, words) in all(binaries, subject).unwrap() {
        let expected = run(binaries, &words, &right).await;
        let expected = expected.unwrap_or_else(|said| panic!("{name}, where everything is served: {said}"));
        assert!(expected.contains(subject.resource) || expected.contains(subject.kind), "{name}: {expected}");
        let cell = match run(binaries, &words, &here).await {
            Ok(seen) if seen == expected => Ok(()),
            Ok(seen) => Err(difference(&seen, &expected)),
            Err(said) => Err(said),
        };
        table.add(name, vec![("the same as where everything is served", Cell::of(cell))]);
    }
    table
}

fn difference(seen: &str, expected: &str) -> String {
    let missing: Vec<_> = expected.lines().filter(|line| !seen.lines().any(|other| other == *line)).collect();
    let more: Vec<_> = seen.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
    format!("lacks {missing:?}, has {more:?}")
}
