//! A headless Chromium, driven over a pipe by the DevTools protocol.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::kit::{DEADLINE, until};

/// Where Debian and others put it.
const PLACES: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// Nothing of it leaves the machine, and nothing stays.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// A browser with one tab.
pub(super) struct Browser {
    _child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    calls: u64,
    tab: Value,
    /// What it complained about: errors of scripts, and what the page's policy refused.
    pub(super) complaints: Vec<String>,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) width: u32,
    pub(super) dark: bool,
    pub(super) script: bool,
}

// === impl Browser ===

impl Browser {
    /// One with nothing open; an error says that there is none on this machine.
    pub(super) async fn start() -> Result<Self, String> {
        let place = PLACES.into_iter().find(|place| Path::new(place).exists());
        let place = place.ok_or_else(|| format!("no Chromium at any of {}", PLACES.join(", ")))?;
        let profile = tempfile::tempdir().unwrap();
        // It reads calls from descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", place])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Self {
            _child: child,
            asks,
            answers,
            calls: 0,
            tab: Value::Null,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.tab = browser.call("Target.attachToTarget", attach).await["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "DOM", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Ok(browser)
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Asks for something, and takes down complaints that come before the answer.
    async fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if !self.tab.is_null() {
            call["sessionId"] = self.tab.clone();
        }
        self.asks.write_all(format!("{call}\0").as_bytes()).await.unwrap();
        loop {
            let mut bytes = Vec::new();
            let read = timeout(DEADLINE, self.answers.read_until(0, &mut bytes)).await;
            assert!(read.expect("an answer in time").unwrap() > 0, "the browser ended");
            bytes.pop();
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == self.calls {
                let error = &message["error"];
                return if error.is_null() { Ok(message["result"].clone()) } else { Err(error.clone()) };
            }
            let about = ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"];
            if about.iter().any(|about| message["method"] == *about) {
                self.complaints.push(message["params"].to_string());
            }
        }
    }

    /// Opens a page, and comes back when it is there whole.
    pub(super) async fn open(&mut self, url: &str, look: Look) {
        let Look { width, dark, script } = look;
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await;
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !script})).await;
        let opened = self.call("Page.navigate", json!({"url": url})).await;
        assert!(opened["errorText"].is_null(), "{opened}");
        self.until_it_has("</footer>").await;
    }

    /// What is there now, as HTML.
    pub(super) async fn html(&mut self) -> String {
        until("there is a document", async || {
            let document = self.call("DOM.getDocument", json!({})).await;
            let node = document["root"]["nodeId"].clone();
            // Another one may be there by now.
            let html = self.try_call("DOM.getOuterHTML", json!({"nodeId": node})).await.ok()?;
            html["outerHTML"].as_str().map(str::to_owned)
        })
        .await
    }

    pub(super) async fn until_it_has(&mut self, text: &str) {
        until(&format!("the page has {text:?}"), async || self.html().await.contains(text).then_some(()))
            .await;
    }

    /// What a script says, which is our own and not the page's.
    pub(super) async fn evaluate(&mut self, script: &str) -> Value {
        let result =
            self.call("Runtime.evaluate", json!({"expression": script, "returnByValue": true})).await;
        assert!(result["exceptionDetails"].is_null(), "{result}");
        result["result"]["value"].clone()
    }

    /// How many things with a role it offers to who does not see it.
    pub(super) async fn of_role(&mut self, role: &str) -> usize {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes.filter(|node| node["role"]["value"] == role && node["ignored"] == false).count()
    }

    /// A picture of all of it, for people: kept in `$KPP_PAGE_SHOTS`, if that is set.
    pub(super) async fn shoot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("KPP_PAGE_SHOTS") else { return };
        let height = self.evaluate("document.documentElement.scrollHeight").await;
        let width = self.evaluate("innerWidth").await;
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let shot = json!({"captureBeyondViewport": true, "clip": clip});
        let shot = self.call("Page.captureScreenshot", shot).await;
        let path = Path::new(&folder).join(format!("{name}.png"));
        let mut decode = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(path).unwrap())
            .spawn()
            .unwrap();
        decode.stdin.take().unwrap().write_all(shot["data"].as_str().unwrap().as_bytes()).await.unwrap();
        assert!(decode.wait().await.unwrap().success());
    }
}
