//! Bytes of a client, behind TLS → the whole proxy, with API servers behind it that write down what reaches them.
//!
//! Input: one byte that says how the rest is sent (see [`client::Mode`]), then that.
#![no_main]

#[path = "head/checks.rs"]
mod checks;
#[path = "head/client.rs"]
mod client;
#[path = "head/stage.rs"]
mod stage;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

use self::client::Mode;
use self::stage::Stage;

/// One proxy for the life of the process, and all of it in one thread: so it can be seen that nothing moves any
/// more.
static WORLD: LazyLock<(Runtime, Stage)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stage = runtime.block_on(Stage::set());
    (runtime, stage)
});

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let (runtime, stage) = &*WORLD;
    let mode = Mode::of(*mode);
    let sent = mode.bytes(rest);
    runtime.block_on(async {
        let answer = client::exchange(stage, mode, &sent).await;
        checks::check(stage, mode, &sent, &answer);
    });
});
