//! logs, which is no upgrade but a body without an end.

use std::{fs::File, io::Write as _};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time,
};

use super::{
    super::{
        fleet,
        kit::{DEADLINE, kubelet::POD},
    },
    Scene,
};

#[tokio::test(flavor = "multi_thread")]
async fn logs_follow_line_by_line_and_end_with_the_log() {
    let scene = fleet!(Scene::set().await);
    for way in scene.ways().into_iter().filter(|way| !way.websocket) {
        let mut log = File::create(scene.kubelet.root.join("log")).unwrap();
        writeln!(log, "before").unwrap();
        let mut child = way.kubectl.command(&["logs", "--follow", POD]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let read = async {
            assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("before"), "{}", way.name);
            for written in ["one", "two", "END"] {
                writeln!(log, "{written}").unwrap();
                assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(written), "{}", way.name);
            }
            assert_eq!(lines.next_line().await.unwrap(), None, "{}", way.name);
            assert!(child.wait().await.unwrap().success(), "{}", way.name);
        };
        time::timeout(DEADLINE, read).await.unwrap_or_else(|_| panic!("{} hangs", way.name));
    }
    scene.end().await;
}
