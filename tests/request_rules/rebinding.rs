//! A page that rebinds its own name to the gateway's address sends that name as Host and as Origin. What
//! counts is what the configuration knows of its addresses.

use crate::support::deployment::route;
use crate::support::scripted_gateway::{ScriptedGateway, agree};

fn mcp(scripted: &ScriptedGateway, host: &str, origin: &str) -> String {
    let key = &scripted.key.plain;
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nx-api-key: {key}\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_rebinds_its_name_is_refused() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let port = scripted.gateway.address("plain").port();
    let rebound = format!("evil.example:{port}");
    let mut wrong = Vec::new();
    for (host, origin) in [
        ("evil.example", "http://evil.example".to_owned()),
        ("evil.example", "https://evil.example".to_owned()),
        ("EVIL.example", "http://evil.example".to_owned()),
        ("evil.example.", "http://evil.example.".to_owned()),
        (&rebound, format!("http://{rebound}")),
        ("genkan.test", "http://genkan.test".to_owned()),
        ("192.0.2.7", "http://192.0.2.7".to_owned()),
        // A page of this machine, but not of the gateway.
        ("localhost", "http://localhost".to_owned()),
        ("localhost:9", "http://localhost:9".to_owned()),
        ("localhost", format!("https://localhost:{port}")),
        ("localhost", format!("http://localhost.:{port}")),
        ("localhost", format!("http://localhost.evil.example:{port}")),
        (
            "localhost",
            format!("http://localhost:{port}\r\nOrigin: http://localhost:{port}"),
        ),
        ("localhost", "null".to_owned()),
        ("localhost", String::new()),
    ] {
        let answer = scripted.ask(mcp(&scripted, host, &origin)).await;
        if answer.status != 403 || !answer.header("www-authenticate").is_empty() {
            wrong.push(format!("{host} {origin}: {}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_gateways_own_addresses_are_welcome() {
    let named = format!(
        "{}host = \"mcp.example.com\"\n",
        route("named", "/mcp", "genesis", "mcp")
    );
    let gateway_url = |text: String| {
        text.replacen(
            "[admin]\n",
            "[admin]\ngateway_url = \"https://gateway.example.com\"\n",
            1,
        )
    };
    let scripted = ScriptedGateway::open_changed(agree, &named, gateway_url).await;
    let (plain, tls) = (
        scripted.gateway.address("plain"),
        scripted.gateway.address("tls"),
    );
    let port = plain.port();
    let welcome = [
        (
            "gateway.example.com",
            "https://gateway.example.com".to_owned(),
        ),
        ("anything.example", "https://Gateway.example.com".to_owned()),
        ("localhost", format!("http://localhost:{port}")),
        ("localhost", format!("http://127.0.0.1:{port}")),
        ("localhost", format!("http://[::1]:{port}")),
        ("localhost", format!("https://localhost:{}", tls.port())),
        ("mcp.example.com", "https://mcp.example.com".to_owned()),
        ("mcp.example.com", "http://mcp.example.com".to_owned()),
        ("mcp.example.com", format!("http://mcp.example.com:{port}")),
        ("mcp.example.com", "https://gateway.example.com".to_owned()),
    ];
    for (host, origin) in welcome {
        let answer = scripted.ask(mcp(&scripted, host, &origin)).await;
        assert_eq!(answer.status, 200, "{host} {origin}");
    }
    for (host, origin) in [
        (
            "gateway.example.com",
            "http://gateway.example.com".to_owned(),
        ),
        (
            "gateway.example.com",
            "https://gateway.example.com:8443".to_owned(),
        ),
        ("mcp.example.com", "https://mcp.example.com:9".to_owned()),
        // The route of a name has that name's pages, not those of the address.
        ("mcp.example.com", format!("http://localhost:{port}")),
        ("localhost", "https://mcp.example.com".to_owned()),
    ] {
        let answer = scripted.ask(mcp(&scripted, host, &origin)).await;
        assert_eq!(answer.status, 403, "{host} {origin}");
    }
}
