//! MCP sessions belong to the key that opened them, on every gateway of a database, after a restart and after
//! the key's rotation; and nobody can make another lose theirs.

use serde_json::{Value, json};

use crate::support::deployment::{Deployment, Engine, Key, Process, route};
use crate::support::raw::{Answer, Wire};
use crate::support::scripted::{OK, Reply, Scripted, Seen};
use crate::support::scripted_gateway::{ScriptedGateway, get};
use crate::support::within;

const OPENED: &str =
    "HTTP/1.1 200 OK\r\nMcp-Session-Id: theirs-1.a_b\r\nContent-Length: 2\r\n\r\nok";
const EVERYTHING: [&str; 6] = ["--scope", "api", "--scope", "mcp", "--scope", "manage"];

/// Opens a session for whoever has none, and names it again in each answer to `/mcp/named`.
fn opens_sessions(seen: &Seen) -> Reply {
    let names = seen.header("mcp-session-id").is_empty() || seen.target() == "/mcp/named";
    Reply::Bytes(if names { OPENED } else { OK })
}

async fn ask(gateway: &Process, key: &Key, path: &str, session: &str) -> Answer {
    let line = match session {
        "" => String::new(),
        session => format!("Mcp-Session-Id: {session}\r\n"),
    };
    let request = get(path, &format!("x-api-key: {}\r\n{line}", key.plain));
    let mut wire = Wire::connect(gateway.address("plain")).await;
    wire.ask(request.replacen("GET", "POST", 1)).await
}

fn session(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let [session] = answer.header("mcp-session-id")[..] else {
        panic!("one session is wanted: {}", answer.head);
    };
    session.to_owned()
}

/// Rotates a key, by another of its owner's.
async fn rotate(gateway: &Process, key: &Key, by: &Key) -> Key {
    let admin = gateway.address("admin");
    let url = format!("http://{admin}/api/v1/keys/{}/rotation", key.id);
    let request = reqwest::Client::new()
        .post(url)
        .bearer_auth(&by.plain)
        .header("content-type", "application/json")
        .body(json!({ "overlap_s": 3_600 }).to_string());
    let answer = within("the rotation", request.send()).await.unwrap();
    assert_eq!(answer.status(), 201);
    let made: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Key {
        id: text("id"),
        plain: text("secret"),
    }
}

async fn a_session_is_its_keys(engine: Engine) {
    let upstream = Scripted::start(opens_sessions).await;
    let text = format!(
        "[upstreams.genesis]\nurls = [\"http://{}\"]\n{}{}[limits]\nlookup_timeout_ms = 10_000\n",
        upstream.address,
        route("mcp", "/mcp", "genesis", "mcp"),
        route("tools", "/tools", "genesis", "mcp"),
    );
    let deployment = Deployment::with_routes(engine, &text).await;
    let (mine, other) = (
        deployment.key("mine", &EVERYTHING),
        deployment.key("other", &EVERYTHING),
    );
    let [first, second] = [deployment.start().await, deployment.start().await];
    let held = session(&ask(&first, &mine, "/mcp", "").await);
    let refused = async |gateway: &Process, key: &Key, path: &str, session: &str| {
        let before = upstream.seen().len();
        let answer = ask(gateway, key, path, session).await;
        assert_eq!(answer.status, 404, "{session}: {}", answer.text());
        assert_eq!(answer.problem()["detail"], "Initialize a new session.");
        assert_eq!(upstream.seen().len(), before, "nothing came through");
    };
    let works = async |gateway: &Process, key: &Key| {
        let answer = ask(gateway, key, "/mcp/named", &held).await;
        assert_eq!(session(&answer), held, "it is the same in every answer");
        let seen = upstream.seen();
        let seen = seen.last().unwrap();
        assert_eq!(seen.header("mcp-session-id"), ["theirs-1.a_b"]);
    };
    // The other key belongs to the same member.
    refused(&second, &other, "/mcp", &held).await;
    works(&second, &mine).await;
    works(&first, &mine).await;
    refused(&first, &other, "/mcp", &held).await;
    // On another route, and what was never opened here.
    refused(&first, &mine, "/tools", &held).await;
    for guess in [
        "theirs-1.a_b",
        ".theirs-1.a_b",
        "AAAAAAAAAAAAAAAAAAAAAA.theirs-1.a_b",
    ] {
        refused(&first, &mine, "/mcp", guess).await;
    }
    // A flood of another key's changes nothing.
    let mut wire = Wire::connect(first.address("plain")).await;
    for number in 0..500 {
        let line = format!(
            "x-api-key: {}\r\nMcp-Session-Id: flood-{number}\r\n",
            other.plain
        );
        assert_eq!(wire.ask(get("/mcp", &line)).await.status, 404);
    }
    works(&first, &mine).await;
    // A gateway that began anew knows it, and so does one that is new.
    drop(first);
    let first = deployment.start().await;
    works(&first, &mine).await;
    refused(&first, &other, "/mcp", &held).await;
    // The successor goes on with it; what it opens is its predecessor's too.
    let successor = rotate(&first, &mine, &other).await;
    for gateway in [&first, &second] {
        works(gateway, &successor).await;
        works(gateway, &mine).await;
    }
    let third = rotate(&first, &successor, &other).await;
    works(&second, &third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_keys_on_every_gateway_with_sqlite() {
    a_session_is_its_keys(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_keys_on_every_gateway_with_postgresql() {
    a_session_is_its_keys(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_or_a_name_that_folds_to_one_are_refused() {
    let scripted = ScriptedGateway::open(opens_sessions, "").await;
    let opened = scripted.ask(scripted.get("/mcp", "")).await;
    let held = session(&opened);
    for lines in [
        format!("Mcp-Session-Id: {held}\r\nMcp-Session-Id: theirs-2\r\n"),
        format!("Mcp-Session-Id: {held}\r\nmcp-session-id: {held}\r\n"),
        "Mcp_Session_Id: theirs-2\r\n".to_owned(),
        "Mcp.Session.Id: theirs-2\r\n".to_owned(),
        "Mcp!Session~Id: theirs-2\r\n".to_owned(),
        format!("Mcp-Session-Id: {held}\r\nMCP-Session_Id: theirs-2\r\n"),
    ] {
        let before = scripted.upstream.seen().len();
        let answer = scripted.ask(scripted.get("/mcp", &lines)).await;
        assert_eq!(answer.status, 400, "{lines}");
        answer.problem();
        assert_eq!(scripted.upstream.seen().len(), before, "{lines}");
    }
    let trailers = format!("Mcp-Session-Id: {held}\r\nTransfer-Encoding: chunked\r\n");
    let request = scripted.get("/mcp", &trailers).replacen("GET", "POST", 1);
    let end = "0\r\nMcp-Session-Id: theirs-2\r\nmcp_session_id: theirs-2\r\n\r\n";
    let seen = scripted.passed(request + end).await;
    assert_eq!(seen.trailers, "", "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_session_is_no_session() {
    let scripted = ScriptedGateway::open(opens_sessions, "").await;
    let answer = scripted
        .ask(scripted.get("/mcp", "Mcp-Session-Id:\r\n"))
        .await;
    assert_eq!(answer.status, 404);
}

fn answers_oddly(seen: &Seen) -> Reply {
    let lines = match seen.target() {
        "/mcp/empty" => "Mcp-Session-Id: \r\n".to_owned(),
        "/mcp/space" => "Mcp-Session-Id: a b\r\n".to_owned(),
        "/mcp/long" => format!("Mcp-Session-Id: {}\r\n", "a".repeat(5_000)),
        "/mcp/two" => "Mcp-Session-Id: one\r\nMcp-Session-Id: two\r\n".to_owned(),
        _ => return Reply::Bytes(OK),
    };
    let answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
    Reply::Bytes(Box::leak(answer.into_boxed_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_calls_a_session_reaches_a_client_only_as_its_own() {
    let scripted = ScriptedGateway::open(answers_oddly, "").await;
    for path in ["/mcp/empty", "/mcp/space", "/mcp/long"] {
        let answer = scripted.ask(scripted.get(path, "")).await;
        assert_eq!(answer.status, 502, "{path}");
        answer.problem();
    }
    let answer = scripted.ask(scripted.get("/mcp/two", "")).await;
    let held = answer.header("mcp-session-id");
    assert_eq!(held.len(), 2, "{}", answer.head);
    for (held, id) in held.iter().zip(["one", "two"]) {
        let line = format!("Mcp-Session-Id: {held}\r\n");
        let seen = scripted.passed(scripted.get("/mcp", &line)).await;
        assert_eq!(seen.header("mcp-session-id"), [id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_path_has_no_caller_whose_a_session_could_be() {
    let public = "[[routes]]\nname = \"open\"\npath_prefix = \"/open\"\nupstream = \"genesis\"\n\
                  scope = \"mcp\"\nmcp = true\npublic_paths = [\"/open/mcp\"]\n";
    let scripted = ScriptedGateway::open(opens_sessions, public).await;
    let opened = scripted.ask(get("/open/mcp", "")).await;
    assert_eq!(opened.header("mcp-session-id"), ["theirs-1.a_b"]);
    let line = "Mcp-Session-Id: anything\r\n";
    let seen = scripted.passed(get("/open/mcp", line)).await;
    assert_eq!(seen.header("mcp-session-id"), ["anything"]);
    let before = scripted.upstream.seen().len();
    for lines in [
        "Mcp-Session-Id: one\r\nMcp-Session-Id: two\r\n",
        "Mcp-Session-Id: one\r\nMcp_Session_Id: two\r\n",
        "Mcp!Session!Id: two\r\n",
    ] {
        let answer = scripted.ask(get("/open/mcp", lines)).await;
        assert_eq!(answer.status, 400, "{lines}");
    }
    assert_eq!(scripted.upstream.seen().len(), before);
}

/// A route that is not for MCP may lead to the same server: it does not pass a session that nobody looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_beside_that_of_mcp_passes_no_session() {
    let scripted = ScriptedGateway::open(opens_sessions, "").await;
    for line in [
        "Mcp-Session-Id: theirs-1.a_b\r\n",
        "mcp_session_id: theirs-1.a_b\r\n",
    ] {
        let seen = scripted.passed(scripted.get("/api/x", line)).await;
        let names = ["mcp-session-id", "mcp_session_id"];
        assert!(
            names.iter().all(|it| seen.header(it).is_empty()),
            "{seen:?}"
        );
    }
}

/// The other route has another name for the same server.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_name_of_the_server_of_mcp_passes_no_session() {
    let upstream = Scripted::start(opens_sessions).await;
    let named = |name: &str| {
        format!(
            "[upstreams.{name}]\nurls = [\"http://{}\"]\n",
            upstream.address
        )
    };
    let routes = [
        named("service"),
        named("again"),
        route("mcp", "/mcp", "service", "mcp"),
        route("api", "/api/", "again", "api"),
    ];
    let deployment = Deployment::with_routes(Engine::Sqlite, &routes.concat()).await;
    let (gateway, key) = (deployment.start().await, deployment.key("ci", &[]));
    let answer = ask(&gateway, &key, "/api/x", "theirs-1.a_b").await;
    assert_eq!(answer.status, 200);
    let seen = upstream.seen();
    assert!(seen[0].header("mcp-session-id").is_empty(), "{seen:?}");
}

fn challenges(seen: &Seen) -> Reply {
    let _target = seen.target();
    Reply::Bytes(
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer \
         resource_metadata=\"http://up.example/.well-known/oauth-protected-resource\"\r\n\r\n",
    )
}

/// A client that follows it would ask the service with the headers that hold its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_services_own_oauth_metadata_leads_nobody_past_the_gateway() {
    let scripted = ScriptedGateway::open(challenges, "").await;
    let answer = scripted.ask(scripted.get("/mcp", "")).await;
    assert_eq!(answer.status, 401);
    assert!(
        answer.header("www-authenticate").is_empty(),
        "{}",
        answer.head
    );
}
