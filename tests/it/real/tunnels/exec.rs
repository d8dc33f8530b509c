//! exec and attach.

use std::fmt::Write as _;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    time,
};

use super::{
    super::{
        fleet,
        kit::{DEADLINE, kubelet::POD},
    },
    Scene,
};

/// 10 MB whose every line differs.
fn large() -> Vec<u8> {
    let mut text = String::with_capacity(10_000_020);
    let mut line = 0;
    while text.len() < 10_000_000 {
        line += 1;
        writeln!(text, "{line}").unwrap();
    }
    // No newline at the end: the last bytes are told apart from those before.
    text.push_str("the end");
    text.into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_passes_on_all_three_streams_and_the_exit_code() {
    let scene = fleet!(Scene::set().await);
    for way in scene.ways() {
        let script = r#"read line; echo "out: $line"; echo "err: $line" >&2; exit 7"#;
        let args = ["exec", "-i", POD, "--", "sh", "-c", script];
        let seen = way.kubectl.piped("hello\n", &args).await;
        assert_eq!(seen.code, Some(7), "{}: {seen:?}", way.name);
        assert_eq!(seen.out, "out: hello\n", "{}: {seen:?}", way.name);
        let err = "err: hello\ncommand terminated with exit code 7\n";
        assert_eq!(seen.err, err, "{}: {seen:?}", way.name);

        let seen = way.kubectl.try_run(&["exec", POD, "--", "true"]).await;
        assert_eq!((seen.ok, &*seen.out, &*seen.err), (true, "", ""), "{}", way.name);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_ends_with_the_input_and_loses_none_of_ten_megabytes_each_way() {
    let scene = fleet!(Scene::set().await);
    let input = large();
    for way in scene.ways() {
        let seen = way.kubectl.bytes(&input, &["exec", "-i", POD, "--", "cat"]).await;
        let err = String::from_utf8_lossy(&seen.stderr);
        assert!(seen.status.success(), "{}: {err}", way.name);
        assert_eq!(seen.stdout.len(), input.len(), "{}: {err}", way.name);
        assert!(seen.stdout == input, "{}: other bytes", way.name);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_answers_while_its_input_is_open() {
    let scene = fleet!(Scene::set().await);
    for way in scene.ways() {
        let mut child = way.kubectl.command(&["exec", "-i", POD, "--", "cat"]).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let talk = async {
            for turn in 0..5 {
                stdin.write_all(format!("{turn}\n").as_bytes()).await.unwrap();
                let line = lines.next_line().await.unwrap();
                assert_eq!(line, Some(turn.to_string()), "{}", way.name);
            }
            drop(stdin);
            assert_eq!(lines.next_line().await.unwrap(), None, "{}", way.name);
            assert!(child.wait().await.unwrap().success(), "{}", way.name);
        };
        time::timeout(DEADLINE, talk).await.unwrap_or_else(|_| panic!("{} hangs", way.name));
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_ends_with_the_command_although_the_input_is_open() {
    let scene = fleet!(Scene::set().await);
    for way in scene.ways() {
        let mut child = way.kubectl.command(&["exec", "-i", POD, "--", "echo", "done"]).spawn().unwrap();
        let _open = child.stdin.take();
        let ended = time::timeout(DEADLINE, child.wait_with_output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{} hangs", way.name)).unwrap();
        assert!(ended.status.success() && ended.stdout == b"done\n", "{}: {ended:?}", way.name);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_talks_with_what_runs() {
    let scene = fleet!(Scene::set().await);
    for way in scene.ways() {
        let mut child = way.kubectl.command(&["attach", "-i", POD]).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut errors = child.stderr.take().unwrap();
        let talk = async {
            assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("attached"), "{}", way.name);
            stdin.write_all(b"one\ntwo\n").await.unwrap();
            assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("one"), "{}", way.name);
            drop(stdin);
            assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("two"), "{}", way.name);
            assert_eq!(lines.next_line().await.unwrap(), None, "{}", way.name);
            let mut err = String::new();
            errors.read_to_string(&mut err).await.unwrap();
            assert!(child.wait().await.unwrap().success(), "{}: {err}", way.name);
            assert!(err.contains("aside\n"), "{}: {err}", way.name);
        };
        time::timeout(DEADLINE, talk).await.unwrap_or_else(|_| panic!("{} hangs", way.name));
    }
    scene.end().await;
}
