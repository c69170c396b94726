//! A key that is sent everywhere is found nowhere but in the request itself.

use std::fmt::Write as _;

use crate::support::client::{self, Mode, Target};
use crate::support::deployment::{
    Deployment, Engine, Key, Process, field, files, hex, route, text,
};
use crate::support::upstream::Upstream;
use crate::support::within;

/// A name that goes the ways that the key may not go: it shows that the search looks there.
const MARKER: &str = "marker-7f3a9c";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 section 4, for credentials as browsers send them (RFC 7617).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0, |n, i| n << 8 | u32::from(*group.get(i).unwrap_or(&0)));
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place)) & 63;
            if place <= group.len() {
                text.push(char::from(ALPHABET[digit as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// What is searched for: enough of the key to know it by, without the ends that a hint may show; and
/// the same inside Basic credentials.
struct Canary {
    plain: String,
    needles: Vec<Vec<u8>>,
}

impl Canary {
    fn new(plain: &str) -> Self {
        let basic = base64(format!("user:{plain}").as_bytes());
        let hex = hex(plain.as_bytes());
        Self {
            needles: [&plain[8..24], &basic[16..40], &hex[16..48]]
                .map(|needle| needle.as_bytes().to_vec())
                .into(),
            plain: plain.to_owned(),
        }
    }

    fn found_in(&self, haystack: &[u8]) -> bool {
        let found = |needle: &Vec<u8>| haystack.windows(needle.len()).any(|part| part == needle);
        self.needles.iter().any(found)
    }

    fn basic(&self) -> String {
        format!(
            "Basic {}",
            base64(format!("user:{}", self.plain).as_bytes())
        )
    }
}

/// One request of the walk: what is asked, how the key is shown, and what must come of it.
struct Step {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    status: u16,
}

fn step(path: &str, headers: &[(&'static str, &str)], status: u16) -> Step {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    Step {
        method: "GET",
        path: path.to_owned(),
        headers: headers.collect(),
        status,
    }
}

/// Every way to bring a key, right and wrong, and every way in which a request can go wrong after.
fn walk(canary: &Canary, other: &str) -> Vec<Step> {
    let key = canary.plain.as_str();
    let bearer = format!("Bearer {key}");
    let shouted = format!("bEaReR   {key}  ");
    let basic = canary.basic();
    let long = "x".repeat(40_000);
    let (x, authorization) = ("x-api-key", "authorization");
    let mut steps = vec![
        step("/api/identity", &[(x, key)], 200),
        step("/api/identity", &[(authorization, &bearer)], 200),
        step("/api/identity", &[(authorization, &shouted)], 200),
        step("/api/identity", &[(x, key), (authorization, &bearer)], 200),
        step("/api/identity", &[(x, key), (x, other)], 400),
        step(
            "/api/identity",
            &[(x, other), (authorization, &bearer)],
            400,
        ),
        step("/api/identity", &[(authorization, &basic)], 401),
        step("/api/identity", &[(authorization, key)], 401),
        step("/api/identity", &[(x, &format!("{key}!"))], 401),
        step("/api/identity", &[("x-genkan-key-id", key)], 401),
        step("/api/identity", &[("cookie", &format!("key={key}"))], 401),
        step(&format!("/api/identity?api_key={key}"), &[], 401),
        step(
            &format!("/api/identity?key={key}"),
            &[(x, &format!("{key}!"))],
            401,
        ),
        step(&format!("/api/{key}/identity"), &[], 401),
        step(&format!("/api/{key}//identity"), &[(x, key)], 400),
        step(&format!("/{key}"), &[(x, key)], 404),
        step(&format!("/%67{}", &key[1..]), &[(x, key)], 404),
        step(&format!("/api//%2567{}", &key[1..]), &[(x, key)], 400),
        step("/manage/x", &[(x, key)], 403),
        step("/nowhere", &[(authorization, &bearer)], 404),
        step("/api/identity", &[(x, key), ("x-long", &long)], 431),
        step("/dead/x", &[(x, key)], 502),
        step("/slow", &[(authorization, &bearer)], 504),
        step(
            "/api/identity",
            &[(x, key), ("expect", "the-unexpected")],
            417,
        ),
    ];
    steps.push(Step {
        method: "TRACE",
        ..step("/api/identity", &[(x, key)], 405)
    });
    steps.push(Step {
        method: "POST",
        ..step("/mcp", &[(x, key), ("origin", "https://evil.example")], 403)
    });
    steps
}

/// Goes one step; returns the whole answer as text, and the whole request as it was sent.
async fn go(target: &Target, mode: Mode, step: &Step) -> (String, String) {
    let mut connection = target.connect(mode).await;
    let mut request = target
        .request(mode, step.method, &step.path)
        .header("user-agent", MARKER);
    for (name, value) in &step.headers {
        request = request.header(*name, value);
    }
    let request = request.body(client::empty()).unwrap();
    let sent = format!("{request:?}");
    let answer = within("an answer", connection.try_send(request)).await;
    let answer = match answer {
        Ok(answer) => text(answer).await,
        // Over HTTP/2 a head beyond the limit may be refused by the protocol itself.
        Err(error) if mode == Mode::TlsHttp2 && step.status == 431 => {
            return (error.to_string(), sent);
        }
        Err(error) => panic!("{mode:?} {} {}: {error}", step.method, step.path),
    };
    let message = (step.method, step.status);
    assert_eq!(
        (step.method, answer.status().as_u16()),
        message,
        "{mode:?} {}: {answer:?}",
        step.path
    );
    (format!("{answer:?}"), sent)
}

/// A gateway that logs all it can, with a route for each way in which a request can end.
async fn talkative_house(upstream: &Upstream) -> Deployment {
    let mut text = format!(
        "[log]\nformat = \"json\"\nlevel = \"trace\"\nrequests = \"all\"\n\
         [upstreams.genesis]\nurls = [\"http://{0}\"]\n\
         [upstreams.slow]\nurls = [\"http://{0}\"]\nfirst_byte_timeout_ms = 200\n\
         [upstreams.dead]\nurls = [\"http://127.0.0.1:{1}\"]\n",
        upstream.plain,
        closed_port(),
    );
    for (name, prefix, upstream, scope) in [
        ("api", "/api/", "genesis", "api"),
        ("ws", "/ws", "genesis", "api"),
        ("mcp", "/mcp", "genesis", "mcp"),
        ("manage", "/manage/", "genesis", "manage"),
        ("slow", "/slow", "slow", "api"),
        ("dead", "/dead/", "dead", "api"),
    ] {
        text.push_str(&route(name, prefix, upstream, scope));
    }
    Deployment::with_routes(Engine::Sqlite, &text).await
}

/// A port on which nobody listens: it was free a moment ago, and is not asked for by number here.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What the management commands print about the key, with standard error.
async fn commands(deployment: &Deployment, key: &Key) -> String {
    let mut said = String::new();
    for command in [
        &["keys", "list", "--all"][..],
        &["keys", "list", "--output", "json"],
        &["keys", "show", &key.id],
        &["keys", "show", &key.id, "--output", "json"],
        &["status"],
        &["config", "show"],
        &["config", "check"],
        &["keys", "revoke", &key.id],
        &["keys", "show", &key.id],
    ] {
        write!(said, "{:?}", deployment.run_beside(command).await).unwrap();
    }
    said
}

async fn web_socket(target: &Target) -> String {
    let mut connection = target.connect(Mode::Http1).await;
    let request = target
        .request(Mode::Http1, "GET", "/ws")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = connection
        .send(request.body(client::empty()).unwrap())
        .await;
    assert_eq!(answer.status(), 101);
    format!("{answer:?}")
}

/// Everything that this gateway logged until its end, which drops no line.
async fn whole_log(mut gateway: Process) -> String {
    gateway.signal(rustix::process::Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    [gateway.stdout(), gateway.stderr()].concat().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_key_is_found_in_no_log_metric_answer_database_or_upstream_request() {
    let upstream = Upstream::start().await;
    let deployment = talkative_house(&upstream).await;
    let (key, other) = (deployment.key("canary", &[]), deployment.key("other", &[]));
    let canary = Canary::new(&key.plain);
    let mut gateway = deployment.start().await;
    let target = deployment.target(&gateway, None);
    let (mut answers, mut sent) = (String::new(), 0);
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        for step in walk(&canary, &other.plain) {
            let (answer, request) = go(&target, mode, &step).await;
            assert!(
                canary.found_in(request.as_bytes()),
                "the search is blind: {request}"
            );
            answers.push_str(&answer);
            sent += 1;
        }
    }
    answers.push_str(&web_socket(&deployment.target(&gateway, Some(&key.plain))).await);
    // A careless caller puts a key into the query of a request that another key opens: upstream gets
    // the query as it is, and the log does not.
    let careless = step(
        &format!("/api/identity?k={}", key.plain),
        &[("x-api-key", &other.plain)],
        200,
    );
    go(&target, Mode::Http1, &careless).await;

    let metrics = gateway.operators("/metrics").await.into_body();
    let spoken = commands(&deployment, &key).await;
    let database = files(deployment.folder.path(), "genkan.db");
    let revoked = step("/api/identity", &[("x-api-key", &key.plain)], 401);
    answers.push_str(&go(&target, Mode::Http1, &revoked).await.0);
    let gone = |line: &str| field(line, "refusal") == "key_revoked";
    gateway.stderr_line("the last request's line", gone).await;
    let log = whole_log(gateway).await;
    let received = upstream
        .requests()
        .iter()
        .filter(|request| !request.target.contains("?k="))
        .fold(String::new(), |mut text, request| {
            writeln!(text, "{request:?}").unwrap();
            text
        });
    for (place, text, known) in [
        ("the answers", answers.as_bytes(), "request_id"),
        ("the metrics", metrics.as_bytes(), "http_route=\"manage\""),
        ("the commands' output", spoken.as_bytes(), key.id.as_str()),
        ("the database", &database, "hana@example.com"),
        ("the log", log.as_bytes(), key.id.as_str()),
        ("what upstream received", received.as_bytes(), MARKER),
    ] {
        assert!(
            !canary.found_in(text),
            "the key is in {place}:\n{}",
            around(&canary, text)
        );
        let text = String::from_utf8_lossy(text);
        assert!(
            text.contains(known),
            "the search did not look at {place}: no {known}"
        );
    }
    println!(
        "{sent} requests; searched {} B of answers, {} B of metrics, {} B of log, {} B of database",
        answers.len(),
        metrics.len(),
        log.len(),
        database.len()
    );
}

/// The line that gave the key away.
fn around(canary: &Canary, text: &[u8]) -> String {
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find(|line| canary.found_in(line)).unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

#[test]
fn the_search_finds_a_key_in_every_form() {
    assert_eq!(
        base64(b"Aladdin:open sesame"),
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
    let canary = Canary::new("gk_0123456789abcdefghijklmnopqrstUVWXYZ");
    assert!(canary.found_in(format!("a {} b", canary.plain).as_bytes()));
    assert!(canary.found_in(canary.basic().as_bytes()));
    assert!(!canary.found_in(b"gk_012\xe2\x80\xa6WXYZ"));
}
