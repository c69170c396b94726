//! An upstream in trouble: the client learns of it, never takes a part for the whole, and nothing is
//! sent twice.

use std::time::{Duration, Instant};

use crate::support::scripted::{OK, Reply, Seen};
use crate::support::scripted_gateway::{ScriptedGateway, agree};

fn troubled(seen: &Seen) -> Reply {
    match seen.target() {
        "/api/silent" => Reply::Silence,
        "/api/vanishes" => Reply::Last(""),
        "/api/says-goodbye" => Reply::Last(OK),
        "/api/is-gone" => Reply::Gone(OK),
        "/api/nonsense" => Reply::Last("SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        "/api/cut-length" => Reply::Last("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive."),
        "/api/cut-chunks" => {
            Reply::Last("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive.\r\n")
        }
        "/api/cut-in-chunk" => {
            Reply::Last("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nfive.")
        }
        "/api/cl-te" => Reply::Bytes(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        "/api/te-cl" => Reply::Bytes(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        "/api/two-lengths" => {
            Reply::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok?")
        }
        "/api/extra" => Reply::Bytes(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        ),
        "/api/switches" => Reply::Bytes(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        _ => agree(seen),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_has_a_status_of_its_own() {
    let scripted = ScriptedGateway::open(troubled, "").await;
    for (path, status) in [
        ("/api/silent", 504),
        ("/api/vanishes", 502),
        ("/api/nonsense", 502),
        ("/api/cl-te", 502),
        ("/api/te-cl", 502),
        ("/api/two-lengths", 502),
        ("/api/switches", 502),
    ] {
        let before = scripted.upstream.seen().len();
        let answer = scripted.ask(scripted.get(path, "")).await;
        assert_eq!(answer.status, status, "{path}");
        answer.problem();
        assert_eq!(
            scripted.upstream.seen().len(),
            before + 1,
            "{path} was sent once"
        );
        scripted.passed(scripted.get("/api/good", "")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_away_is_502() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let away = format!(
        "[[routes]]\nname = \"away\"\npath_prefix = \"/away/\"\nupstream = \"away\"\nscope = \"api\"\n\
         [upstreams.away]\nurls = [\"http://{nobody}\"]\n"
    );
    let scripted = ScriptedGateway::open(agree, &away).await;
    let mut wire = scripted.wire().await;
    let answer = wire.ask(scripted.get("/away/a", "")).await;
    assert_eq!(answer.status, 502);
    answer.problem();
    assert_eq!(wire.ask(scripted.get("/api/a", "")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_never_ends_cleanly() {
    let scripted = ScriptedGateway::open(troubled, "").await;
    for path in ["/api/cut-length", "/api/cut-chunks", "/api/cut-in-chunk"] {
        let mut wire = scripted.wire().await;
        wire.send(scripted.get(path, "")).await;
        // The head may already be on its way, or the break may come first.
        if let Some(answer) = wire.answer().await {
            assert!(
                answer.status == 502 || !answer.complete,
                "{path}: {answer:?}"
            );
        }
        assert!(wire.is_closed().await, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let scripted = ScriptedGateway::open(troubled, "").await;
    let mut wire = scripted.wire().await;
    assert_eq!(wire.ask(scripted.get("/api/extra", "")).await.text(), "ok");
    for _ in 0..20 {
        let answer = wire.ask(scripted.get("/api/a", "")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    let seen = scripted.upstream.seen();
    let first = seen[0].connection;
    let used_again = seen.iter().skip(1).any(|seen| seen.connection == first);
    assert!(
        !used_again,
        "the connection with extra bytes was used again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closed_while_idle_costs_nothing() {
    let scripted = ScriptedGateway::open(troubled, "").await;
    let mut wire = scripted.wire().await;
    for closed in 1..=50 {
        let answer = wire.ask(scripted.get("/api/says-goodbye", "")).await;
        assert_eq!(answer.status, 200);
        scripted.upstream.wait_for_closed(closed).await;
    }
    assert_eq!(scripted.upstream.seen().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_as_it_is_used_is_tried_again_only_if_nothing_was_sent() {
    let scripted = ScriptedGateway::open(troubled, "").await;
    let mut wire = scripted.wire().await;
    for _ in 0..200 {
        let before = scripted.upstream.seen().len();
        let answer = wire.ask(scripted.get("/api/is-gone", "")).await;
        let arrived = scripted.upstream.seen().len() - before;
        match answer.status {
            200 => assert_eq!(arrived, 1),
            // Written to a connection that was ending: whether it was read nobody can know.
            502 => assert!(arrived < 2),
            other => panic!("{other}: {}", answer.text()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_never_sent_twice() {
    let scripted = ScriptedGateway::open(troubled, "").await;
    for round in 1..=20 {
        // The connection behind is kept, so that the trigger goes out on one that was used before.
        let mut wire = scripted.wire().await;
        assert_eq!(wire.ask(scripted.get("/api/good", "")).await.status, 200);
        let trigger = scripted
            .get("/api/vanishes", "Content-Length: 2\r\n")
            .replacen("GET", "POST", 1);
        let answer = wire.ask(trigger + "{}").await;
        assert_eq!(answer.status, 502);
        let seen = scripted.upstream.seen();
        let triggers = seen.iter().filter(|seen| seen.head.starts_with("POST"));
        assert_eq!(triggers.count(), round);
        let [.., first, second] = seen.as_slice() else {
            unreachable!()
        };
        assert_eq!(
            first.connection, second.connection,
            "the trigger met a new connection"
        );
    }
}

/// The upstream has a second to answer, from when it has the request: whether that has a body or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_body_waits_for_its_answer_no_longer_than_one_without() {
    let scripted = ScriptedGateway::open(troubled, "").await;
    for request in [
        scripted.get("/api/silent", ""),
        scripted
            .get("/api/silent", "Content-Length: 4\r\n")
            .replacen("GET", "POST", 1)
            + "body",
    ] {
        let begun = Instant::now();
        assert_eq!(scripted.ask(&request).await.status, 504);
        // One and a half times the limit: a busy machine is late, and a second wait would be as long as the first.
        assert!(
            begun.elapsed() < Duration::from_millis(1_500),
            "{:?}",
            begun.elapsed()
        );
    }
}
