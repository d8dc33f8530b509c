//! cp, which is tar at both ends of an exec.

use std::fs;

use super::{
    super::{fleet, kit::kubelet::POD},
    Scene,
};

/// Not a multiple of any buffer's size, and nothing that repeats with one.
fn content(seed: usize) -> Vec<u8> {
    let mut state = u32::try_from(seed).unwrap() + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..3_000_017).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cp_carries_a_folder_there_and_back_byte_for_byte() {
    let scene = fleet!(Scene::set().await);
    let here = tempfile::tempdir().unwrap();
    for (seed, way) in scene.ways().into_iter().enumerate() {
        let (local, back) = (here.path().join(&way.name), here.path().join(format!("{}-back", way.name)));
        fs::create_dir_all(local.join("deep")).unwrap();
        let files = [("large", content(seed)), ("deep/small", b"small\n".to_vec()), ("empty", Vec::new())];
        for (name, bytes) in &files {
            fs::write(local.join(name), bytes).unwrap();
        }

        let remote = format!("{POD}:{}", way.name);
        way.kubectl.run(&["cp", local.to_str().unwrap(), &remote]).await;
        way.kubectl.run(&["cp", &remote, back.to_str().unwrap()]).await;
        for folder in [scene.kubelet.root.join(&way.name), back] {
            for (name, bytes) in &files {
                let arrived = fs::read(folder.join(name))
                    .unwrap_or_else(|error| panic!("{}: {}/{name}: {error}", way.name, folder.display()));
                assert!(arrived == *bytes, "{}: {}/{name} differs", way.name, folder.display());
            }
        }
    }
    scene.end().await;
}
