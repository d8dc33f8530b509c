//! Programs that never outlive the tests, however those end.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{LazyLock, mpsc},
    thread,
};

/// A program that runs in a process group of its own; killed with all of it when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// Put before a program, this has the kernel kill it when its parent goes. Statics are never dropped, and a
/// test binary can be killed: without it, servers would be left behind.
pub(crate) const DIES_WITH_PARENT: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// The parent that counts is the *thread* that forked, and threads of tests end with their tests. So one
/// thread that never ends starts everything.
static SPAWNER: LazyLock<mpsc::Sender<(Command, mpsc::Sender<io::Result<Child>>)>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<(Command, mpsc::Sender<io::Result<Child>>)>();
    thread::spawn(move || {
        for (mut command, answer) in jobs {
            let _ = answer.send(command.spawn());
        }
    });
    sender
});

// === impl Process ===

impl Process {
    /// Starts `words`, whose output is added to `log`.
    pub(crate) fn start(words: &[String], log: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let (sender, answer) = mpsc::channel();
        SPAWNER.send((command, sender)).expect("the spawner never ends");
        Ok(Self(answer.recv().expect("the spawner answers")?))
    }

    /// Of the process, and of its group.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal to the whole group: `TERM`, `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let group = format!("-{}", self.0.id());
        let sent = Command::new("sh").args(["-c", r#"kill -s "$0" -- "$1""#, signal, &group]).output();
        assert!(sent.is_ok(), "cannot run sh");
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}
