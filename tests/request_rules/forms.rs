//! Paths, hosts and headers in another form than the one by which the route was chosen.

use super::ask_with;
use crate::support::client::{self, Mode};
use crate::support::deployment::route;
use crate::support::scripted_gateway::{ScriptedGateway, agree, get};

/// `/api/admin/`, beside the gateway's `/api/` and `/mcp`.
fn admin() -> String {
    route("admin", "/api/admin/", "genesis", "manage")
}

/// A key for what the gateway's own key is not enough for.
fn strong(scripted: &ScriptedGateway) -> String {
    let scopes = ["--scope", "api", "--scope", "mcp", "--scope", "manage"];
    scripted.deployment.key("strong", &scopes).plain
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_some_servers_take_for_a_stricter_routes_wants_its_scope() {
    let scripted = ScriptedGateway::open(agree, &admin()).await;
    let strong = strong(&scripted);
    let mut wrong = Vec::new();
    for path in [
        "/api/admin;x/u",
        "/api/admin;x=1;y=2/u",
        "/api/admin%3Bx/u",
        "/api/admin%3Fx/u",
        "/api/admin::$INDEX_ALLOCATION/u",
        "/api/admin.json",
        "/api/admin.json/",
        "/api/Admin.html/?x=1",
        "/api/adm%C4%B0n/u",
        "/api/%C3%A1dmin/u",
        "/api/(S(lit3py55t21z5v55vlm25s55))/admin/u",
        "/api/(A(x)F(y))/admin/u",
        "/api/index.php/admin/u",
        "/api/admin%E2%88%95u",
        "/api/admin%E2%81%84u",
        "/api/admin%E2%A7%B8u",
        "/api/admin%E2%88%96u",
        "/api/admin%C2%A5u",
        "/api/admin%E2%82%A9u",
        "/api/admin%EF%BF%A5u",
        "/api/Admin/u",
        "/api/ADMIN",
        "/api/admin",
        "/api/admin%20/u",
        "/api/%20admin/u",
        "/api/admin+/u",
        "/api/admin./u",
        "/api/admin.../u",
        "/api/admin%C2%A0/u",
        "/api/;x/admin/u",
        "/api/%20/admin/u",
        "/api/%EF%BD%81%EF%BD%84%EF%BD%8D%EF%BD%89%EF%BD%8E/u",
        "/api/adm%C4%B1n/u",
        "/api/ad%E2%80%8Bmin/u",
        "/api/ADMIN;x%20/u?x=1",
    ] {
        let weak = scripted.ask(scripted.get(path, "")).await;
        let enough = ask_with(&scripted, &strong, path, "").await;
        if (weak.status, enough.status) != (403, 200) {
            wrong.push(format!("{path}: {} and {}", weak.status, enough.status));
        }
        if weak.status == 403 {
            assert!(weak.header("www-authenticate").is_empty(), "{path}");
            let problem = weak.problem();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("plain form"), "{path}: {detail}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What belongs to no stricter route passes as it is, whatever it looks like.
    for path in [
        "/api/Other/u",
        "/api/administrators",
        "/api/v1/x:cancel",
        "/api/a;x=1",
        "/api/Products(1)",
        "/api/index.php/users",
        "/api/%E3%81%82",
        "/api/A%20b",
        "/api/x/admin",
        "/api/01HZXW7Q",
    ] {
        assert_eq!(scripted.passed(scripted.get(path, "")).await.target(), path);
    }
    let plain = scripted.ask(scripted.get("/api/admin/u", "")).await;
    assert_eq!(plain.status, 403);
    assert!(plain.header("www-authenticate")[0].contains("insufficient_scope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dots_beside_blanks_and_dots_of_another_kind_are_refused() {
    let scripted = ScriptedGateway::open(agree, "").await;
    for path in [
        "/api/..%20/mcp",
        "/api/%20../mcp",
        "/api/.%20/a",
        "/api/..+/mcp",
        "/api/..%3Bx/mcp",
        "/api/%EF%BC%8E%EF%BC%8E/mcp",
        "/api/..%E2%80%8B/mcp",
        "/api/..:x/mcp",
        "/api/..::$INDEX_ALLOCATION/mcp",
        "/api/..%E2%88%95mcp",
        "/api/..%C2%A5mcp",
    ] {
        assert_eq!(
            scripted.ask(scripted.get(path, "")).await.status,
            400,
            "{path}"
        );
    }
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_that_only_some_servers_tell_apart_want_both_scopes() {
    let more = [
        route("upper", "/api/Admin/", "genesis", "manage"),
        route("lower", "/api/admin/", "genesis", "api"),
        route("parameter", "/api/admin;v=1/", "genesis", "api"),
    ];
    let scripted = ScriptedGateway::open(agree, &more.concat()).await;
    let strong = strong(&scripted);
    for path in ["/api/admin/u", "/api/admin;v=1/u", "/api/ADMIN/u"] {
        assert_eq!(
            scripted.ask(scripted.get(path, "")).await.status,
            403,
            "{path}"
        );
        let enough = ask_with(&scripted, &strong, path, "").await;
        assert_eq!(enough.status, 200, "{path}");
    }
    scripted.passed(scripted.get("/api/other/u", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_route_counts_as_the_weakest() {
    let more = format!(
        "[[routes]]\nname = \"open\"\npath_prefix = \"/open/\"\nupstream = \"genesis\"\n\
         scope = \"api\"\npublic_paths = [\"/open/\"]\n{}{}public_paths = [\"/open/all/\"]\n\
         {}public_paths = [\"/api/admin/health\"]\n",
        route("inner", "/open/inner/", "genesis", "manage"),
        route("all", "/open/all/", "genesis", "manage"),
        admin(),
    );
    let scripted = ScriptedGateway::open(agree, &more).await;
    for path in [
        "/open/Inner/x",
        "/open/inner;x/y",
        "/open/inner%20/x",
        "/open/inner",
    ] {
        let nobody = scripted.ask(get(path, "")).await;
        assert_eq!(nobody.status, 403, "{path}");
        nobody.problem();
    }
    assert!(scripted.upstream.seen().is_empty());
    scripted.passed(get("/open/Other;x/y", "")).await;
    // Where the whole of the stricter route is public, every reader finds a public path.
    scripted.passed(get("/open/All;x/y", "")).await;
    scripted.passed(get("/api/admin/health", "")).await;
    // A reader who is lenient in one way alone finds what is not public.
    for path in [
        "/api/Admin/health",
        "/api/admin;x/HEALTH",
        "/api/Admin/other",
    ] {
        assert_eq!(
            scripted.ask(scripted.get(path, "")).await.status,
            403,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_an_mcp_path_does_not_get_round_the_rules_for_sessions_and_origins() {
    let scripted = ScriptedGateway::open(agree, &route("rest", "/", "genesis", "api")).await;
    for path in ["/MCP", "/mcp;x", "/mcp%20", "/Mcp/"] {
        let answer = scripted
            .ask(scripted.get(path, "Mcp-Session-Id: another-keys\r\n"))
            .await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.header("www-authenticate").is_empty(), "{path}");
    }
    assert!(scripted.upstream.seen().is_empty());
    scripted.passed(scripted.get("/Elsewhere", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_in_another_form_is_the_same_host() {
    let hosts = format!(
        "{}host = \"admin.example.com\"\n{}host = \"[::1]\"\n",
        route("host", "/api/", "genesis", "manage"),
        route("address", "/api/", "genesis", "manage")
    );
    let scripted = ScriptedGateway::open(agree, &hosts).await;
    let strong = strong(&scripted);
    let on = |host: &str, key: &str| {
        format!("GET /api/a HTTP/1.1\r\nHost: {host}\r\nx-api-key: {key}\r\n\r\n")
    };
    for (host, arrives) in [
        ("admin.example.com", "admin.example.com"),
        ("admin.example.com.", "admin.example.com"),
        ("ADMIN.example.com", "ADMIN.example.com"),
        ("Admin.Example.Com.:80", "Admin.Example.Com:80"),
        ("admin.example.com:80", "admin.example.com:80"),
        ("admin.example.com.:443", "admin.example.com:443"),
        ("admin.example.com.:8080", "admin.example.com:8080"),
        ("[::1]:80", "[::1]:80"),
        ("[0:0:0:0:0:0:0:1]", "[0:0:0:0:0:0:0:1]"),
        ("[0::0001]", "[0::0001]"),
    ] {
        let weak = scripted.ask(on(host, &scripted.key.plain)).await;
        assert_eq!(weak.status, 403, "{host}");
        let seen = scripted.passed(on(host, &strong)).await;
        assert_eq!(seen.header("host"), [arrives]);
        assert_eq!(seen.header("x-forwarded-host"), [arrives]);
    }
    for host in [
        "admin.example.com..",
        ".admin.example.com",
        "admin..example.com",
        "[:::1]",
        ".",
    ] {
        assert_eq!(scripted.ask(on(host, &strong)).await.status, 400, "{host}");
    }
    let target = scripted.deployment.target(&scripted.gateway, None);
    let mut connection = target.connect(Mode::TlsHttp2).await;
    let request = http::Request::get("https://admin.example.com./api/a");
    let request = request.header("x-api-key", &scripted.key.plain);
    let answer = connection
        .send(request.body(client::empty()).unwrap())
        .await;
    assert_eq!(answer.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn overlong_and_broken_utf8_is_refused() {
    let scripted = ScriptedGateway::open(agree, "").await;
    for path in [
        "/api/%c0%ae%c0%ae/mcp",
        "/api/%C0%AE%C0%AE/mcp",
        "/api/a%c0%afb",
        "/api/a%c1%9cb",
        "/api/a%c0%80",
        "/api/%e0%80%ae%e0%80%ae/mcp",
        "/api/%f0%80%80%ae/mcp",
        "/api/%f8%80%80%80%ae",
        "/api/%fc%80%80%80%80%ae",
        "/api/a%ed%a0%80",
        "/api/a%ed%a0%bd%ed%b8%80",
        "/api/a%f4%90%80%80",
        "/api/a%ff",
        "/api/a%80",
        "/api/a%e3%81",
    ] {
        let answer = scripted.ask(scripted.get(path, "")).await;
        assert_eq!(answer.status, 400, "{path}");
        answer.problem();
    }
    assert!(scripted.upstream.seen().is_empty());
    for path in [
        "/api/%E3%81%82",
        "/api/%C3%A9",
        "/api/%F0%9F%98%80",
        "/api/%F4%8F%BF%BF",
    ] {
        assert_eq!(scripted.passed(scripted.get(path, "")).await.target(), path);
    }
}

/// As the servers and frameworks that read them write them, not as the gateway lists them.
const TARGETS: &[&str] = &[
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Original-Method",
    "X-Rewrite-URI",
    "X-Override-URL",
    "X-Host",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-HTTP-Path-Override",
    "X-Method-Override",
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded-Path",
    "X-Envoy-Original-Path",
    "X-Script-Name",
    "X-Path",
    "X-Path-Info",
    "X-Url",
    "X-Middleware-Subrequest",
    "X-Matched-Path",
    "X-Invoke-Path",
    "X-Sendfile-Type",
    "X-Accel-Mapping",
    // gunicorn sets the variables of these names.
    "SCRIPT-NAME",
    "PATH-INFO",
    "Path-Translated",
    "Request-URI",
    "Request-Url",
    "Base-Url",
    "Method-Override",
    "-method",
    "Destination",
    "Proxy",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_header_cannot_name_another_target() {
    for scripted in [
        ScriptedGateway::open(agree, "").await,
        ScriptedGateway::open_trusting(agree, "127.0.0.0/8").await,
    ] {
        let mut passed = Vec::new();
        for name in TARGETS {
            for name in [
                (*name).to_owned(),
                name.replace('-', "_"),
                name.replace('-', "!"),
            ] {
                let line = format!("{name}: /evil\r\nX-Kept: 1\r\n");
                let seen = scripted.passed(scripted.get("/api/a", &line)).await;
                assert_eq!(seen.header("x-kept"), ["1"]);
                if seen.head.contains("evil") {
                    passed.push(name);
                }
            }
        }
        assert_eq!(passed, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_keep_a_header_that_names_another_target() {
    let keep = format!(
        "{}keep_headers = [\"X-Forwarded-Prefix\", \"x-http-method-override\", \"Destination\"]\n",
        route("keep", "/keep/", "genesis", "api")
    );
    let lines = "X-HTTP-Method-Override: PUT\r\nX_HTTP_Method_Override: evil\r\n\
                 X-Original-URL: evil\r\nX-Forwarded-Prefix: /outside\r\nDestination: /keep/b\r\n";
    let scripted = ScriptedGateway::open(agree, &keep).await;
    let seen = scripted.passed(scripted.get("/keep/a", lines)).await;
    assert_eq!(seen.header("x-http-method-override"), ["PUT"]);
    assert_eq!(seen.header("destination"), ["/keep/b"]);
    assert!(!seen.head.contains("evil"), "{}", seen.head);
    // Kept, but a stranger is still not believed about where it came from.
    assert!(seen.header("x-forwarded-prefix").is_empty());
    let seen = scripted.passed(scripted.get("/api/a", lines)).await;
    assert!(seen.header("x-http-method-override").is_empty());
}
