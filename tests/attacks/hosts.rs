//! DNS rebinding: a page whose name was made to lead to this machine reads nothing from the admin listener.

use crate::support::deployment::{Deployment, Engine};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

const PATHS: [&str; 7] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/sign-in",
    "/api/v1/me",
    "/openapi.json",
    "/no-such-page",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_known_beforehand_is_refused_everywhere() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let text = std::fs::read_to_string(deployment.config()).unwrap();
    let named = "[admin]\nurl = \"https://keys.example.com\"\n";
    std::fs::write(deployment.config(), text.replace("[admin]\n", named)).unwrap();
    let gateway = deployment.start().await;
    let admin = gateway.address("admin");
    for path in PATHS {
        let get = async |line: String, host: String| {
            let mut wire = Wire::connect(admin).await;
            wire.ask(format!("GET {line}\r\n{host}\r\n")).await
        };
        let plain = format!("{path} HTTP/1.1");
        for evil in [
            "evil.example",
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "keys.example.com.evil.example",
            "localhost.evil.example",
        ] {
            let answer = get(plain.clone(), format!("Host: {evil}\r\n")).await;
            assert_eq!(answer.status, 421, "{path} {evil}");
            assert_eq!(answer.header("content-type"), ["text/plain; charset=utf-8"]);
            let text = answer.text();
            assert!(text.contains("`url` under [admin]"), "{text}");
        }
        // The name in the target counts as well.
        let target = format!("http://evil.example{path} HTTP/1.1");
        let answer = get(target, format!("Host: {admin}\r\n")).await;
        assert_eq!(answer.status, 421, "{path}");
        let old = format!("http://evil.example{path} HTTP/1.0");
        assert_eq!(get(old, String::new()).await.status, 421, "{path}");
        for unclear in [
            "",
            "Host: \r\n",
            "Host: a b\r\n",
            "Host: localhost\r\nHost: evil.example\r\n",
        ] {
            let status = get(plain.clone(), unclear.to_owned()).await.status;
            assert!([400, 421].contains(&status), "{path} {unclear}: {status}");
        }
        for good in [
            admin.to_string(),
            "127.0.0.1".to_owned(),
            "[::1]:8081".to_owned(),
            "192.0.2.7".to_owned(),
            "localhost:8081".to_owned(),
            "genkan.localhost".to_owned(),
            "keys.example.com".to_owned(),
            "KEYS.example.com.:443".to_owned(),
        ] {
            let status = get(plain.clone(), format!("Host: {good}\r\n")).await.status;
            assert!(![400, 421].contains(&status), "{path} {good}: {status}");
        }
        // A probe in HTTP/1.0 names nothing, and no browser speaks so.
        let status = get(format!("{path} HTTP/1.0"), String::new()).await.status;
        assert!(![400, 421].contains(&status), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_can_be_configured() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let text = std::fs::read_to_string(deployment.config()).unwrap();
    let named = "[admin]\nhosts = [\"Genkan\", \"metrics.internal.\"]\n";
    std::fs::write(deployment.config(), text.replace("[admin]\n", named)).unwrap();
    let gateway = deployment.start().await;
    for (host, status) in [
        ("genkan:8081", 200),
        ("metrics.internal", 200),
        ("genkan.internal", 421),
        ("keys.example.com", 421),
    ] {
        let mut wire = Wire::connect(gateway.address("admin")).await;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(wire.ask(request).await.status, status, "{host}");
    }
}
