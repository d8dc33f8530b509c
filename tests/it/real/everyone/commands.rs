//! What people type, of each version of kubectl.

use super::{
    super::kit::{
        binaries::Version,
        kubectl::{Kubectl, Output},
    },
    subject::Subject,
    table::Cell,
};

/// The first with `patch --subresource`.
const SUBRESOURCES: Version = Version(1, 24);
/// The first that waits for a value.
const WAITS_FOR_VALUES: Version = Version(1, 23);

pub(crate) type Cells = Vec<(&'static str, Cell)>;

/// Commands that only read, by what is called how in the table.
fn reads(subject: &Subject) -> Vec<(&'static str, Vec<String>)> {
    let group_version = format!("/apis/{}", subject.group_version());
    let group = format!("/apis/{}", subject.group);
    let table: [(&'static str, &[&str]); 9] = [
        ("explain", &["explain", subject.resource]),
        ("explain a field", &["explain", subject.field]),
        ("explain --recursive", &["explain", subject.resource, "--recursive"]),
        ("api-resources", &["api-resources", "-o", "wide"]),
        ("api-versions", &["api-versions"]),
        ("get --raw group", &["get", "--raw", &group]),
        ("get --raw version", &["get", "--raw", &group_version]),
        ("auth can-i", &["auth", "can-i", "create", subject.resource]),
        ("get", &["get", subject.resource]),
    ];
    table.into_iter().map(|(name, args)| (name, args.iter().map(|&arg| arg.to_owned()).collect())).collect()
}

/// Runs what reads, where everything is served, so that it can be told what is right.
pub(crate) async fn expected(right: &Kubectl, subject: &Subject) -> Vec<Output> {
    let mut outputs = Vec::new();
    for (name, args) in reads(subject) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = right.try_run(&args).await;
        assert!(output.ok, "kubectl {} {name}, where everything is served: {output:?}", right.version);
        outputs.push(output);
    }
    outputs
}

/// Each has to print what `expected` is.
pub(crate) async fn read(kubectl: &Kubectl, subject: &Subject, expected: &[Output]) -> Cells {
    let mut cells = Vec::new();
    for ((name, args), expected) in reads(subject).into_iter().zip(expected) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = kubectl.try_run(&args).await;
        cells.push((name, Cell::of(same(name, &output, expected))));
    }
    cells
}

fn same(name: &str, output: &Output, expected: &Output) -> Result<(), String> {
    if !output.ok {
        return Err(format!("{}{}", output.err, output.out));
    }
    // Other tests make objects meanwhile: only that there is a list, then.
    if name != "get" && (&output.out, &output.err) != (&expected.out, &expected.err) {
        return Err(difference(output, expected));
    }
    Ok(())
}

/// The first line that is another.
fn difference(output: &Output, expected: &Output) -> String {
    if output.err != expected.err {
        return format!("stderr {:?} instead of {:?}", output.err, expected.err);
    }
    let (mut ours, mut theirs) = (output.out.lines(), expected.out.lines());
    loop {
        let pair = (ours.next(), theirs.next());
        if pair.0 != pair.1 || pair == (None, None) {
            let cut = |line: Option<&str>| line.map(|line| line.chars().take(300).collect::<String>());
            return format!("{:?} instead of {:?}", cut(pair.0), cut(pair.1));
        }
    }
}

/// The life of one object. `truth` sees the object where it is served.
pub(crate) async fn write(kubectl: &Kubectl, truth: &Kubectl, subject: &Subject, name: &str) -> Cells {
    let Subject { resource, status, jsonpath, .. } = *subject;
    let mut cells = Cells::new();
    let object = |step: &str| subject.object(name, step);
    let run = async |step: &str, args: &[&str]| kubectl.piped(&object(step), args).await;
    let plural = format!("{resource}.{}.{}", subject.version, subject.group);
    let step = async || {
        let path = "jsonpath={.metadata.labels.step}";
        truth.try_run(&["get", &plural, name, "--ignore-not-found", "-o", path]).await.out
    };
    let says = |output: &Output, word: &str| match output {
        Output { ok: true, out, .. } if out.contains(word) => Ok(()),
        Output { out, err, .. } => Err(format!("{err}{out}")),
    };

    let output = run("client", &["create", "--dry-run=client", "-f", "-"]).await;
    cells.push(("create --dry-run=client", Cell::of(says(&output, "created (dry run)"))));
    let output = run("server", &["create", "--dry-run=server", "-f", "-"]).await;
    cells.push(("create --dry-run=server", Cell::of(says(&output, "created (server dry run)"))));

    let mut applied = says(&run("one", &["apply", "-f", "-"]).await, "created");
    if applied.is_ok() {
        applied = says(&run("two", &["apply", "-f", "-"]).await, "configured");
    }
    let seen = step().await;
    if applied.is_ok() && seen != "two" {
        applied = Err(format!("the object is at {seen:?}"));
    }
    cells.push(("apply", Cell::of(applied)));
    if seen != "two" {
        // What follows needs an object, wherever it comes from.
        truth.run_piped(&object("two"), &["apply", "-f", "-"]).await;
    }

    let server_side = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let mut applied = says(&run("three", &server_side).await, "serverside-applied");
    if applied.is_ok() && step().await != "three" {
        applied = Err(format!("the object is at {:?}", step().await));
    }
    cells.push(("apply --server-side", Cell::of(applied)));

    // Exit code 1 says that there is a difference, more that it failed.
    let output = run("four", &["diff", "-f", "-"]).await;
    let found = output.code == Some(1) && output.out.lines().any(|line| line == "+    step: four");
    cells.push(("diff", Cell::of(if found { Ok(()) } else { Err(format!("{}{}", output.err, output.out)) })));

    let wide = ["get", resource, name, "-o", "wide", "--show-labels"];
    let (output, right) = (kubectl.try_run(&wide).await, truth.run(&wide).await);
    let same =
        if without_age(&output.out) == without_age(&right) { Ok(()) } else { Err(format!("{output:?}")) };
    cells.push(("get -o wide", Cell::of(same)));

    cells.push((
        "patch --subresource",
        match status {
            Some(status) if kubectl.version >= SUBRESOURCES => {
                let args = ["patch", resource, name, "--subresource=status", "--type=merge", "-p", status];
                Cell::of(says(&kubectl.try_run(&args).await, "patched"))
            }
            _ => Cell::Absent,
        },
    ));

    let waited = if kubectl.version >= WAITS_FOR_VALUES {
        let for_value = format!("--for={jsonpath}");
        let output = kubectl.try_run(&["wait", resource, name, &for_value, "--timeout=20s"]).await;
        says(&output, "condition met")
    } else {
        let output =
            kubectl.try_run(&["wait", resource, name, "--for=condition=Never", "--timeout=1s"]).await;
        if output.err.contains("timed out waiting for the condition") { Ok(()) } else { Err(output.err) }
    };
    cells.push(("wait", Cell::of(waited)));

    let output = kubectl.try_run(&["delete", resource, name]).await;
    cells.push(("delete", Cell::of(says(&output, "deleted"))));
    truth.try_run(&["delete", &plural, name, "--ignore-not-found"]).await;
    cells
}

/// A table of kubectl's, in which time does not pass.
fn without_age(table: &str) -> Vec<&str> {
    let is_age = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(['s', 'm', 'h', 'd', 'y'])
    };
    table.split_whitespace().filter(|word| !is_age(word)).collect()
}
