//! Are we ready? By ownership: whoever has something to do first holds a [`Latch`], and dropping it says that
//! it is done; it never comes back. What can come and go (a drain, say) is a [`Condition`].

use std::sync::Arc;

use tokio::sync::watch;

/// The checks behind `/readyz`; cloning gives another handle on the same ones.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// In the order in which they were registered, which is the order of the report.
    checks: Arc<watch::Sender<Vec<Check>>>,
}

#[derive(Debug)]
struct Check {
    name: Arc<str>,
    ok: bool,
}

/// Keeps us from being ready until it is dropped, also by a panic or an early return: a task that died is
/// somebody else's alarm, and must not keep a proxy that works out of service.
#[derive(Debug)]
#[must_use = "dropping it says that the work is done"]
pub struct Latch(Condition);

/// A check that can pass and fail again as often as it likes.
#[derive(Debug)]
pub struct Condition {
    checks: Arc<watch::Sender<Vec<Check>>>,
    index: usize,
}

/// What `/readyz` and `/livez` answer, as kube-apiserver words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// 200 if true, 500 otherwise.
    pub ok: bool,
    /// The body, `text/plain`.
    pub text: String,
}

// === impl Readiness ===

impl Default for Readiness {
    fn default() -> Self {
        Self { checks: Arc::new(watch::Sender::new(Vec::new())) }
    }
}

impl Readiness {
    /// Something that has to be done once before we are ready.
    pub fn latch(&self, name: impl Into<Arc<str>>) -> Latch {
        Latch(self.condition(name, false))
    }

    /// Something that has to hold while we are ready.
    pub fn condition(&self, name: impl Into<Arc<str>>, ok: bool) -> Condition {
        let mut index = 0;
        self.checks.send_modify(|checks| {
            index = checks.len();
            checks.push(Check { name: name.into(), ok });
        });
        Condition { checks: self.checks.clone(), index }
    }

    /// True if every check passes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        all_ok(&self.checks.borrow())
    }

    /// The names of the checks that fail now.
    #[must_use]
    pub fn pending(&self) -> Vec<Arc<str>> {
        self.checks.borrow().iter().filter(|check| !check.ok).map(|check| check.name.clone()).collect()
    }

    /// Waits until every check passes.
    pub async fn ready(&self) {
        let mut changes = self.checks.subscribe();
        // The sender lives in `self`, so this can't end with an error.
        let _ = changes.wait_for(|checks| all_ok(checks)).await;
    }

    /// The answer to `/readyz`; the single checks are told if we aren't ready, or if `verbose` asks for them.
    #[must_use]
    pub fn readyz(&self, verbose: bool) -> Report {
        report("readyz", &self.checks.borrow(), verbose)
    }

    /// The answer to `/livez`: that there is one is all that it says.
    #[must_use]
    pub fn livez(verbose: bool) -> Report {
        report("livez", &[], verbose)
    }
}

fn all_ok(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok)
}

fn report(endpoint: &str, checks: &[Check], verbose: bool) -> Report {
    let ok = all_ok(checks);
    if ok && !verbose {
        return Report { ok, text: "ok".to_owned() };
    }
    let mut text = "[+]ping ok\n".to_owned();
    for Check { name, ok } in checks {
        text += &if *ok { format!("[+]{name} ok\n") } else { format!("[-]{name} failed: reason withheld\n") };
    }
    text += &format!("{endpoint} check {}\n", if ok { "passed" } else { "failed" });
    Report { ok, text }
}

// === impl Condition ===

impl Condition {
    /// Says how it stands now.
    pub fn set(&self, ok: bool) {
        self.checks.send_if_modified(|checks| std::mem::replace(&mut checks[self.index].ok, ok) != ok);
    }
}

// === impl Latch ===

impl Latch {
    /// The same as dropping it, for those who like to read it.
    pub fn done(self) {}
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.0.set(true);
        let checks = self.0.checks.borrow();
        let pending = checks.iter().filter(|check| !check.ok).count();
        tracing::debug!(done = %checks[self.0.index].name, pending, "a start-up task is done");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ready_when_the_last_latch_is_dropped_and_not_before() {
        let readiness = Readiness::default();
        let catalog = readiness.latch("catalog");
        let listener = readiness.latch("listener");
        catalog.done();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.pending(), ["listener".into()]);
        drop(listener);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_task_that_panics_releases_its_latch() {
        let readiness = Readiness::default();
        let latch = readiness.latch("task");
        let task = std::thread::spawn(move || {
            let _latch = latch;
            panic!("on purpose");
        });
        assert!(task.join().is_err());
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_condition_comes_and_goes() {
        let readiness = Readiness::default();
        let serving = readiness.condition("not-draining", true);
        assert!(readiness.is_ready());
        serving.set(false);
        assert!(!readiness.is_ready());
        serving.set(true);
        assert!(readiness.is_ready());
    }

    #[test]
    fn the_report_has_kube_apiservers_form() {
        let readiness = Readiness::default();
        let _listener = readiness.condition("listener", true);
        let latch = readiness.latch("discovery/a");
        let failed =
            "[+]ping ok\n[+]listener ok\n[-]discovery/a failed: reason withheld\nreadyz check failed\n";
        for verbose in [false, true] {
            assert_eq!(readiness.readyz(verbose), Report { ok: false, text: failed.into() });
        }
        latch.done();
        let passed = "[+]ping ok\n[+]listener ok\n[+]discovery/a ok\nreadyz check passed\n";
        assert_eq!(readiness.readyz(true), Report { ok: true, text: passed.into() });
        assert_eq!(readiness.readyz(false), Report { ok: true, text: "ok".into() });
        assert_eq!(Readiness::livez(true).text, "[+]ping ok\nlivez check passed\n");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_last_latch() {
        let readiness = Readiness::default();
        let latch = readiness.latch("task");
        let waiting = tokio::time::timeout(Duration::from_secs(60), readiness.ready());
        let (waited, ()) = tokio::join!(waiting, async { latch.done() });
        assert!(waited.is_ok());
    }
}
