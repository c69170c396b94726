//! An answer that names the upstream's own address names the client's instead: who follows it stays with
//! the gateway, and the key never reaches the service.

use std::net::SocketAddr;

use crate::support::client::Mode;
use crate::support::deployment::{Deployment, Engine, route};
use crate::support::raw::Wire;
use crate::support::scripted::{OK, Reply, Scripted, Seen};
use crate::support::scripted_gateway::{ScriptedGateway, get};
use crate::support::{tls, within};

/// Says where it is, as a service does that builds addresses from its `Host`; or, where a test says so, from
/// its own configuration.
fn names_itself(seen: &Seen) -> Reply {
    let host = seen
        .header("x-own")
        .first()
        .or(seen.header("host").first())
        .copied()
        .unwrap_or("");
    let path = seen.target().split('?').next().unwrap_or_default();
    let Some(what) = path.strip_prefix("/api/").filter(|it| *it != "there") else {
        return Reply::Bytes(OK);
    };
    let (status, lines) = match what {
        "scheme-relative" => ("302", format!("Location: //{host}/api/there?a=b\r\n")),
        "relative" => ("302", "Location: there?a=b\r\n".to_owned()),
        "all" => (
            "201",
            format!(
                "Location: https://{host}/api/there\r\nContent-Location: http://{host}/api/all\r\n\
                 Refresh: 5; url=http://{host}/api/there\r\n\
                 Link: <http://{host}/api/all?page=2>; rel=\"next\", </api/all>; rel=\"first\"\r\n\
                 Link: <http://else.example/>; rel=\"help\"\r\n\
                 Set-Cookie: a=b; Domain={name}; Path=/\r\nSet-Cookie: c=d; Path=/\r\n",
                name = host.split(':').next().unwrap_or_default(),
            ),
        ),
        "elsewhere" => (
            "302",
            "Location: https://else.example/api/there\r\n\
             Set-Cookie: a=b; Domain=else.example\r\n"
                .to_owned(),
        ),
        status => (status, format!("Location: http://{host}/api/there?a=b\r\n")),
    };
    let answer = format!("HTTP/1.1 {status} Moved\r\n{lines}Content-Length: 0\r\n\r\n");
    Reply::Bytes(Box::leak(answer.into_boxed_str()))
}

async fn deployment(host: &str) -> (Scripted, Deployment) {
    let upstream = Scripted::start(names_itself).await;
    let text = format!(
        "[upstreams.genesis]\nurls = [\"http://{}\"]\nhost = \"{host}\"\n{}",
        upstream.address,
        route("api", "/", "genesis", "api"),
    );
    (
        upstream,
        Deployment::with_routes(Engine::Sqlite, &text).await,
    )
}

fn follower(authority: &std::path::Path) -> reqwest::Client {
    tls::install_provider();
    let pem = std::fs::read(authority).unwrap();
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    let builder = reqwest::Client::builder().tls_certs_only([authority]);
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_follows_redirects_never_brings_its_key_to_the_upstream() {
    let (upstream, deployment) = deployment("upstream").await;
    let key = deployment.key("canary", &[]).plain;
    let gateway = deployment.start().await;
    let target = deployment.target(&gateway, None);
    let client = follower(&target.authority);
    let mut reached = Vec::new();
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        for what in [
            "301",
            "302",
            "303",
            "307",
            "308",
            "scheme-relative",
            "relative",
        ] {
            let url = target.url(mode, &format!("/api/{what}"));
            let asked = client.post(&url).header("x-api-key", &key).send();
            let answer = within(what, asked).await.unwrap();
            assert_eq!(answer.status(), 200, "{what}");
            let there = target.url(mode, "/api/there?a=b");
            reached.push((what, answer.url().to_string(), there));
        }
        let seen = upstream.seen();
        for seen in &seen {
            assert!(
                !seen.head.contains(&key[8..24]),
                "the key came: {}",
                seen.head
            );
            assert_eq!(seen.header("x-genkan-user-email"), ["hana@example.com"]);
        }
        assert_eq!(seen.len(), 2 * reached.len());
    }
    for (what, url, there) in reached {
        assert_eq!(url, there, "{what}");
    }
}

fn expected(scheme: &str, authority: &str) -> [(&'static str, Vec<String>); 5] {
    let at = |path: &str| format!("{scheme}://{authority}{path}");
    [
        ("location", vec![at("/api/there")]),
        ("content-location", vec![at("/api/all")]),
        ("refresh", vec![format!("5; url={}", at("/api/there"))]),
        (
            "link",
            vec![
                format!(
                    "<{}>; rel=\"next\", </api/all>; rel=\"first\"",
                    at("/api/all?page=2")
                ),
                "<http://else.example/>; rel=\"help\"".to_owned(),
            ],
        ),
        (
            "set-cookie",
            vec!["a=b; Path=/".to_owned(), "c=d; Path=/".to_owned()],
        ),
    ]
}

async fn all(gateway: SocketAddr, key: &str, more: &str) -> crate::support::raw::Answer {
    let request = get("/api/all", &format!("x-api-key: {key}\r\n{more}"));
    let answer = Wire::connect(gateway).await.ask(request).await;
    assert_eq!(answer.status, 201, "{}", answer.head);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_header_that_names_the_upstream_names_the_gateway() {
    for host in ["upstream", "preserve"] {
        let (upstream, deployment) = deployment(host).await;
        let key = deployment.key("ci", &[]).plain;
        let gateway = deployment.start().await;
        // With `preserve` the service builds addresses from the client's host, which need no change, or
        // from its own, which do.
        let own = format!("x-own: {}\r\n", upstream.address);
        let answer = all(gateway.address("plain"), &key, &own).await;
        for (name, lines) in expected("http", "genkan.test") {
            assert_eq!(answer.header(name), lines, "{host}: {}", answer.head);
        }
        let elsewhere = get("/api/elsewhere", &format!("x-api-key: {key}\r\n"));
        let mut wire = Wire::connect(gateway.address("plain")).await;
        let answer = wire.ask(elsewhere).await;
        assert_eq!(
            answer.header("location"),
            ["https://else.example/api/there"]
        );
        assert_eq!(answer.header("set-cookie"), ["a=b; Domain=else.example"]);
    }
}

/// A gateway before such an upstream, with something written over in its configuration.
async fn scripted(changes: &[(&str, &str)]) -> ScriptedGateway {
    let change = |text: String| {
        changes.iter().fold(text, |text, (old, new)| {
            assert!(text.contains(old), "no {old} in {text}");
            text.replacen(old, new, 1)
        })
    };
    ScriptedGateway::open_changed(names_itself, "", change).await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_it_is_the_address_that_the_client_used_there() {
    // What stands on the left the client may have written, and the proxy passed it on.
    let forwarded = "X-Forwarded-Proto: http, https\r\nX-Forwarded-Host: evil.example\r\n\
                     X-Forwarded-Host: evil.example, api.example\r\n";
    let keeps = "path_prefix = \"/api/\"\nkeep_headers = [\"x-forwarded-host\"]\n";
    for (trusted, prefix, scheme, authority) in [
        ("127.0.0.0/8", "", "https", "genkan.test"),
        ("127.0.0.0/8", keeps, "https", "api.example"),
        ("192.0.2.0/24", keeps, "http", "genkan.test"),
    ] {
        let trusts = format!("trusted_proxies = [\"{trusted}\"]\nworkers = 2\n");
        let mut changes = vec![("workers = 2\n", &*trusts)];
        if !prefix.is_empty() {
            changes.push(("path_prefix = \"/api/\"\n", prefix));
        }
        let scripted = scripted(&changes).await;
        let own = format!("x-own: {}\r\n{forwarded}", scripted.upstream.address);
        let answer = all(scripted.gateway.address("plain"), &scripted.key.plain, &own).await;
        for (name, lines) in expected(scheme, authority) {
            assert_eq!(answer.header(name), lines, "{trusted}: {}", answer.head);
        }
    }
}

/// A proxy that ends TLS and is not trusted: the configuration alone knows how clients come.
#[tokio::test(flavor = "multi_thread")]
async fn where_gateway_url_is_https_no_answer_leads_to_http() {
    let url = "[admin]\ngateway_url = \"https://Genkan.test:8443\"\n";
    let scripted = scripted(&[("[admin]\n", url)]).await;
    let own = format!("x-own: {}\r\n", scripted.upstream.address);
    let gateway = scripted.gateway.address("plain");
    let answer = all(gateway, &scripted.key.plain, &own).await;
    for (name, lines) in expected("https", "genkan.test:8443") {
        assert_eq!(answer.header(name), lines, "{}", answer.head);
    }
    // Under another name it is reached otherwise.
    let request = scripted.get("/api/302", &own);
    let request = request.replace("Host: genkan.test", "Host: other.test:8080");
    let answer = scripted.ask(request).await;
    let there = ["http://other.test:8080/api/there?a=b"];
    assert_eq!(answer.header("location"), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_upstream_is_the_gateways_too() {
    let other = Scripted::start(names_itself).await;
    let another = format!(
        "[upstreams.other]\nurls = [\"http://{}\"]\n[upstreams.genesis]\n",
        other.address
    );
    let scripted = scripted(&[("[upstreams.genesis]\n", &another)]).await;
    let own = format!("x-own: {}\r\n", other.address);
    let answer = all(scripted.gateway.address("plain"), &scripted.key.plain, &own).await;
    for (name, lines) in expected("http", "genkan.test") {
        assert_eq!(answer.header(name), lines, "{}", answer.head);
    }
    assert!(other.seen().is_empty());
}

/// Thousands of addresses, each of which would become a long host.
fn names_itself_often(seen: &Seen) -> Reply {
    let own = seen.header("x-own").first().copied().unwrap_or("");
    let links = format!("<//{own}>,").repeat(3_000);
    let answer = format!("HTTP/1.1 200 OK\r\nLink: {links}\r\nContent-Length: 0\r\n\r\n");
    Reply::Bytes(Box::leak(answer.into_boxed_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_many_addresses_takes_no_time_and_a_host_is_no_longer_than_a_name() {
    let scripted = ScriptedGateway::open(names_itself_often, "").await;
    let named = |host: &str| {
        let own = format!("x-own: {}\r\n", scripted.upstream.address);
        let request = scripted.get("/api/often", &own);
        request.replace("Host: genkan.test", &format!("Host: {host}"))
    };
    let longest = "a".repeat(253);
    let begun = std::time::Instant::now();
    let answer = scripted.ask(named(&longest)).await;
    assert_eq!(answer.status, 200);
    // It is left as it is, rather than grown to a megabyte.
    let links = answer.header("link").concat();
    assert!(!links.contains(&longest), "{} bytes", links.len());
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
    for long in [254, 14_000] {
        let answer = scripted.ask(named(&"a".repeat(long))).await;
        assert_eq!(answer.status, 400, "{long} bytes");
    }
}
