//! The status page in a real browser.
//!
//! `KPP_PAGE_SHOTS=FOLDER` keeps pictures there.

use kube_peer_proxy::embedded::Recorded::{V1_32, V1_35, V1_36};

use super::fleet;
use crate::kit::{As, Cluster, PKI, Proxy, Wire};

mod browser;

use browser::{Browser, Look};

const WIDE: Look = Look { width: 1280, dark: false, script: true };

/// Of every text on the page, the lowest contrast with what is behind it (WCAG 2.2, 1.4.3), and the text.
const CONTRAST: &str = r#"(() => {
  const parts = (text) => text.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (one) => {
    for (; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (!(parts(color)[3] === 0)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let lowest = { ratio: 21, text: "" };
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || ["SCRIPT", "STYLE"].includes(one.tagName)) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(back(one))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < lowest.ratio) lowest = { ratio, text: texts.currentNode.data };
  }
  return lowest;
})()"#;

fn url(proxy: &Proxy) -> String {
    format!("http://{}/", proxy.app.admin)
}

async fn three() -> (Cluster, Proxy) {
    let cluster = Cluster::start(&[V1_32, V1_35, V1_36]).await;
    let proxy = cluster.proxy().home("v132").start().await;
    let client = proxy.h2(As::Certificate(&PKI.admin)).await;
    for _ in 0..3 {
        client.get("/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies").await;
        client.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await;
    }
    client.get("/api/v1//pods").await.refused(400);
    (cluster, proxy)
}

#[tokio::test]
async fn what_changes_shows_by_itself_and_the_policy_refuses_nothing_of_ours() {
    let mut browser = fleet!(Browser::start().await);
    let (cluster, proxy) = three().await;
    browser.open(&url(&proxy), WIDE).await;
    browser.until_it_has(">Live</p>").await;
    browser.until_it_has("All 3 API servers are healthy").await;
    browser.evaluate("document.getElementById('which').focus()").await;

    cluster.server("v136").stop().await;
    browser.until_it_has("1 of 3 API servers is not healthy: v136.").await;
    assert!(browser.evaluate("document.title").await.as_str().unwrap().starts_with("1 not healthy"));
    let focused = browser.evaluate("document.activeElement.id").await;
    assert_eq!(focused, "which", "whoever went there by keyboard is there still");
    browser.shoot("dead-1280-light").await;

    browser.evaluate("document.getElementById('pause').click()").await;
    browser.until_it_has(">Paused</p>").await;
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    // Would it be seen?
    browser.evaluate("document.body.setAttribute('style', 'color: red')").await;
    browser.html().await;
    assert!(browser.complaints.iter().any(|complaint| complaint.contains("style-src")), "nothing is refused");
}

#[tokio::test]
async fn a_proxy_that_went_away_is_said_to_be_gone() {
    let mut browser = fleet!(Browser::start().await);
    let (_cluster, proxy) = three().await;
    browser.open(&url(&proxy), WIDE).await;
    browser.until_it_has(">Live</p>").await;
    proxy.app.shutdown().await;
    browser.until_it_has("what is shown is old").await;
    browser.until_it_has("All 3 API servers are healthy").await;
}

#[tokio::test]
async fn without_javascript_all_is_there_and_comes_anew() {
    let mut browser = fleet!(Browser::start().await);
    let (cluster, proxy) = three().await;
    browser.open(&url(&proxy), Look { script: false, ..WIDE }).await;
    let html = browser.html().await;
    for there in
        ["All 3 API servers are healthy", ">mutatingadmissionpolicies</span>", "<td class=\"absent\">"]
    {
        assert!(html.contains(there), "{there}: {html}");
    }
    assert!(html.contains("<button id=\"pause\" type=\"button\" hidden"), "it could do nothing");
    cluster.server("v136").stop().await;
    browser.until_it_has("1 of 3 API servers is not healthy: v136.").await;
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[tokio::test]
async fn it_fits_wide_and_narrow_light_and_dark_for_eyes_and_ears() {
    let mut browser = fleet!(Browser::start().await);
    let (_cluster, few) = three().await;
    let long = |number: usize| format!("ip-10-0-113-{number}.eu-central-1.compute.internal");
    let versions = [V1_32, V1_35, V1_36, V1_32, V1_36, V1_35, V1_32];
    let names = versions.into_iter().enumerate().map(|(number, version)| (long(20 + number), version));
    let many = Cluster::with(names, |builder| builder).await;
    let nowhere = Wire::loose().await;
    nowhere.refuse().await;
    let many = many.proxy().server(&long(99), nowhere.address).home(&long(20)).start().await;
    for (name, proxy, servers) in [("three", &few, 3), ("eight", &many, 8)] {
        for look in [
            WIDE,
            Look { dark: true, ..WIDE },
            Look { width: 390, ..WIDE },
            Look { width: 390, dark: true, ..WIDE },
        ] {
            let shown = format!("{name}-{}-{}", look.width, if look.dark { "dark" } else { "light" });
            browser.open(&url(proxy), look).await;
            browser.shoot(&shown).await;
            let width = browser.evaluate("document.documentElement.scrollWidth").await;
            assert_eq!(width, look.width, "{shown}: nothing sticks out");
            let lowest = browser.evaluate(CONTRAST).await;
            assert!(lowest["ratio"].as_f64().unwrap() >= 4.5, "{shown}: {lowest}");
            assert!(browser.of_role("rowheader").await > servers, "{shown}");
            assert!(
                browser.of_role("table").await >= 2,
                "{shown}: tables are tables, whatever they look like"
            );
        }
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}
