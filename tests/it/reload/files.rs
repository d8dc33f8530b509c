//! However files change, and whatever is in them.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use kube_peer_proxy::ops::telemetry::LogFormat;
use kube_peer_proxy::pki::Leaf;

use super::*;
use crate::kit::{As, BOB, Capture};

#[tokio::test]
async fn a_new_serving_certificate_is_seen_however_it_was_written() {
    let (_cluster, proxy) = alone().await;
    let (cert, key) = (proxy.file("proxy.crt"), proxy.file("proxy.key"));
    let open = proxy.h2(As::Token(BOB)).await;

    // As kubeadm does it.
    let in_place = serving();
    fs::write(&cert, &in_place.cert_pem).unwrap();
    fs::write(&key, &in_place.key_pem).unwrap();
    until_shown(&proxy, &in_place).await;

    let renamed = serving();
    replace_pair(&proxy, "proxy", &renamed);
    until_shown(&proxy, &renamed).await;

    // As kubelet does it: the files are links through `..data`, which is what changes.
    let mounted = |folder: &str, pair: &Credential| {
        let folder = proxy.file(folder);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("proxy.crt"), &pair.cert_pem).unwrap();
        fs::write(folder.join("proxy.key"), &pair.key_pem).unwrap();
    };
    let point = |to: &str| {
        symlink(to, proxy.file("..data_tmp")).unwrap();
        fs::rename(proxy.file("..data_tmp"), proxy.file("..data")).unwrap();
    };
    mounted("..1", &renamed);
    point("..1");
    for name in ["proxy.crt", "proxy.key"] {
        symlink(format!("..data/{name}"), proxy.file("link")).unwrap();
        fs::rename(proxy.file("link"), proxy.file(name)).unwrap();
    }
    let swapped = serving();
    mounted("..2", &swapped);
    point("..2");
    fs::remove_dir_all(proxy.file("..1")).unwrap();
    until_shown(&proxy, &swapped).await;

    until_reloads(&proxy, "ok", 3.0).await;
    assert_eq!(reloads(&proxy, "failed").await, 0.0);
    assert_eq!(open.get("/version").await.status, 200, "the connection from before is the same");
}

#[tokio::test]
async fn what_is_bad_leaves_the_old_in_use_and_is_told_and_counted_once() {
    let logs = Capture::start("info", LogFormat::Json);
    let (cluster, proxy) = alone().await;
    let (cert, key) = (proxy.file("proxy.crt"), proxy.file("proxy.key"));
    let new = serving();
    let half = &new.cert_pem[..new.cert_pem.len() / 2];
    let bad: [&dyn Fn(); 5] = [
        &|| fs::write(&cert, "nothing to see").unwrap(),
        &|| fs::write(&cert, half).unwrap(),
        &|| fs::remove_file(&cert).unwrap(),
        &|| replace(&cert, &new.cert_pem),
        &|| replace(&key, "x".repeat((1 << 20) + 1)),
    ];
    for (number, spoil) in bad.into_iter().enumerate() {
        spoil();
        until_reloads(&proxy, "failed", (number + 1) as f64).await;
        assert_eq!(Speaker::new(BOTH, None, &[]).shown(&proxy, "localhost").await, PKI.proxy.cert);
        // It is looked at many times meanwhile.
        let probes = cluster.fetches("v136", "/readyz");
        until("half a second or so", async || {
            (cluster.fetches("v136", "/readyz") >= probes + 5).then_some(())
        })
        .await;
    }
    let text = logs.text();
    let told: Vec<_> = text.lines().filter(|line| line.contains("is refused")).collect();
    assert_eq!(told.len(), 5, "{told:#?}");
    for (line, words) in told.iter().zip([
        "proxy.crt has no certificate in it",
        "is no readable PEM",
        "proxy.crt can't be read",
        "does not belong to the certificate",
        "has more than 1048576 bytes",
    ]) {
        assert!(line.contains("--tls-") && line.contains(words), "{words}: {line}");
    }

    replace_pair(&proxy, "proxy", &new);
    until_shown(&proxy, &new).await;
    until_reloads(&proxy, "ok", 1.0).await;
    assert_eq!(reloads(&proxy, "failed").await, 5.0);
}

#[tokio::test]
async fn what_comes_back_as_it_was_is_no_reload() {
    let (_cluster, proxy) = alone().await;
    let cert = fs::read(proxy.file("proxy.crt")).unwrap();
    replace(&proxy.file("proxy.crt"), "nothing");
    until_reloads(&proxy, "failed", 1.0).await;
    let logs = Capture::start("info", LogFormat::Json);
    replace(&proxy.file("proxy.crt"), cert);
    until("it was seen", async || logs.text().contains("again those that are in use").then_some(())).await;
    assert_eq!((reloads(&proxy, "ok").await, reloads(&proxy, "failed").await), (0.0, 1.0));
}

#[tokio::test]
async fn a_pair_of_which_one_half_is_written_is_waited_for() {
    let (_cluster, proxy) = alone().await;
    for number in 1..=3 {
        let new = serving();
        let (cert, key) = (proxy.file("proxy.crt"), proxy.file("proxy.key"));
        let (cert_pem, key_pem) = (new.cert_pem.clone(), new.key_pem.clone());
        // A slow writer, whom the proxy surely sees between both.
        let writer = tokio::task::spawn_blocking(move || {
            fs::write(cert, cert_pem).unwrap();
            std::thread::sleep(Duration::from_millis(60));
            fs::write(key, key_pem).unwrap();
        });
        writer.await.unwrap();
        until_shown(&proxy, &new).await;
        until_reloads(&proxy, "ok", f64::from(number)).await;
    }
    assert_eq!(reloads(&proxy, "failed").await, 0.0);
}

// === Expiry ===

#[tokio::test]
async fn expiries_are_shown_and_what_expires_soon_is_warned_of() {
    const EXPIRY: &str = "kube_peer_proxy_certificate_expiration_timestamp_seconds";
    let logs = Capture::start("info", LogFormat::Json);
    let (_cluster, proxy) = alone().await;
    assert!(!logs.text().contains("expires soon"), "{}", logs.text());
    for labels in [
        ["certificate=\"serving\"", "server=\"\"", "subject=\"CN=kube-peer-proxy\""],
        ["certificate=\"client-ca\"", "server=\"\"", "subject=\"CN=kubernetes\""],
        ["certificate=\"peer-ca\"", "server=\"v136\"", "subject=\"CN=kubernetes\""],
        ["certificate=\"proxy-client\"", "server=\"v136\"", "subject=\"CN=front-proxy-client\""],
    ] {
        let at = proxy.metric(EXPIRY, &labels).await;
        let now = time::OffsetDateTime::now_utc().unix_timestamp() as f64;
        assert!(at > now + 300.0 * 86_400.0, "{labels:?}: {at}");
    }

    let soon = Leaf::server("short").lifetime(Duration::from_secs(3 * 86_400));
    let soon = PKI.cluster_ca.issue(&soon).unwrap();
    replace_pair(&proxy, "proxy", &soon);
    until_reloads(&proxy, "ok", 1.0).await;
    let expected =
        x509_parser::parse_x509_certificate(&soon.cert).unwrap().1.validity().not_after.timestamp();
    assert_eq!(proxy.metric(EXPIRY, &["subject=\"CN=short\""]).await, expected as f64);
    assert_eq!(proxy.metric(EXPIRY, &["subject=\"CN=kube-peer-proxy\""]).await, 0.0, "the old one is gone");
    let text = logs.text();
    let warning = text.lines().find(|line| line.contains("expires soon")).expect("a warning");
    assert!(warning.contains("CN=short") && warning.contains("WARN"), "{warning}");

    // One that has expired is taken over, for nothing says that clients look, and is told of.
    let now = time::OffsetDateTime::now_utc();
    let day = time::Duration::DAY;
    let old = PKI.cluster_ca.issue(&Leaf::server("old").validity(now - 2 * day, now - day)).unwrap();
    replace_pair(&proxy, "proxy", &old);
    until_reloads(&proxy, "ok", 2.0).await;
    assert!(logs.text().contains("CN=old is valid from"), "{}", logs.text());
    assert!(proxy.metric(EXPIRY, &["subject=\"CN=old\""]).await < now.unix_timestamp() as f64);
}
