//! Names of headers that another reader takes for ours, and the console's cookies.

use crate::support::client::{self, Mode};
use crate::support::scripted_gateway::{ScriptedGateway, agree};

/// Every byte that may stand in a header's name (RFC 9110 section 5.6.2) and is no letter or digit.
const BETWEEN: &str = "!#$%&'*+.^_`|~";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_folds_onto_one_of_ours_is_removed_whatever_stands_between() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let mut passed = Vec::new();
    for name in [
        "X-Genkan-User-Id",
        "X-Genkan-Anything",
        "X-Request-Id",
        "X-Api-Key",
        "X-Forwarded-For",
        "X-Real-IP",
        "Proxy-Authorization",
        "Transfer-Encoding",
        "Content-Length",
        "Keep-Alive",
    ] {
        for between in BETWEEN.chars() {
            // All of them, and the first alone.
            for count in [9, 1] {
                let name = name.replacen('-', &between.to_string(), count);
                let line = format!("{name}: root\r\nX_Kept!: 1\r\n");
                let seen = scripted.passed(scripted.get("/api/a", &line)).await;
                assert_eq!(seen.header("x_kept!"), ["1"], "{name}: {}", seen.head);
                if seen.head.contains("root") {
                    passed.push(name);
                }
            }
        }
    }
    assert_eq!(passed, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_that_folds_onto_one_of_ours_is_removed() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let names =
        "X!Genkan!User!Id, X~Request~Id, x|api|key, X*Original*URL, Cookie, Content!Length, X-Sum";
    let lines = names.replace(", ", ": root\r\n") + ": root\r\n";
    let head = format!("Transfer-Encoding: chunked\r\nTrailer: {names}\r\nTE: trailers\r\n");
    let request = scripted.get("/api/a", &head).replacen("GET", "POST", 1);
    let seen = scripted
        .passed(format!("{request}5\r\nhello\r\n0\r\n{lines}\r\n"))
        .await;
    assert_eq!(seen.trailers.to_ascii_lowercase(), "x-sum: root\r\n");
}

/// Where a client is, in the words of those who say it before a server.
const WHERE: &[&str] = &[
    "Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "Front-End-Https",
    "WL-Proxy-Client-IP",
    "Remote-Addr",
    "X-Azure-ClientIP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Envoy-External-Address",
    "X-Original-Forwarded-For",
    "X-ProxyUser-IP",
    "X-Real-IP",
    "X-Remote-Addr",
    "X-Remote-IP",
    "X-Scheme",
    "X-Url-Scheme",
];

#[tokio::test(flavor = "multi_thread")]
async fn where_a_client_is_only_a_trusted_proxy_says() {
    let [stranger, trusting] = [
        ScriptedGateway::open(agree, "").await,
        ScriptedGateway::open_trusting(agree, "127.0.0.0/8").await,
    ];
    let mut wrong = Vec::new();
    for name in WHERE {
        let line = format!("{name}: 6.6.6.6\r\n");
        let seen = stranger.passed(stranger.get("/api/a", &line)).await;
        let trusted = trusting.passed(trusting.get("/api/a", &line)).await;
        if seen.head.contains("6.6.6.6") || trusted.header(name) != ["6.6.6.6"] {
            wrong.push(name);
        }
        let folded = line.replace('-', "_");
        let seen = trusting.passed(trusting.get("/api/a", &folded)).await;
        assert!(!seen.head.contains("6.6.6.6"), "{}", seen.head);
    }
    assert_eq!(wrong, Vec::<&&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_that_folds_onto_the_platforms_own_header_passes_beside_it() {
    let own = |name: &str, header: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\npath_prefix = \"/{name}/\"\nupstream = \"genesis\"\nscope = \"api\"\n\
             [routes.upstream_credential]\nheader = \"{header}\"\nvalue = \"platform\"\n"
        )
    };
    let more = own("dashes", "X-Platform-Key") + &own("lines", "x_platform_key");
    let scripted = ScriptedGateway::open(agree, &more).await;
    for (path, header) in [
        ("/dashes/a", "x-platform-key"),
        ("/lines/a", "x_platform_key"),
    ] {
        for name in [
            "X-Platform-Key",
            "X_Platform_Key",
            "x-platform_key",
            "X.Platform!Key",
        ] {
            let head = format!(
                "{name}: evil\r\nTransfer-Encoding: chunked\r\nTrailer: {name}, X-Sum\r\nTE: trailers\r\n"
            );
            let request = scripted.get(path, &head).replacen("GET", "POST", 1);
            let end = format!("0\r\n{name}: evil\r\nX-Sum: 1\r\n\r\n");
            let seen = scripted.passed(request + &end).await;
            assert!(!seen.head.contains("evil"), "{name}: {}", seen.head);
            assert_eq!(seen.header(header), ["platform"], "{name}");
            assert_eq!(seen.trailers.to_ascii_lowercase(), "x-sum: 1\r\n", "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consoles_cookies_stay_here_and_others_pass() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let ours = "__Host-genkan=secret";
    for (cookies, left) in [
        (ours.to_owned(), &[][..]),
        (format!("a=1; {ours}; b=2"), &["a=1; b=2"]),
        (format!("{ours};a=1"), &["a=1"]),
        (
            "a=1; __Host-genkan-sign-in=secret; genkan-language=secret".to_owned(),
            &["a=1"],
        ),
        (
            format!("a=1\r\nCookie: {ours}\r\nCookie: b=2"),
            &["a=1; b=2"],
        ),
        (
            "genkan=1; __Host-genkanx=2; session=3".to_owned(),
            &["genkan=1; __Host-genkanx=2; session=3"],
        ),
    ] {
        for path in ["/api/a", "/api/public"] {
            let seen = scripted
                .passed(scripted.get(path, &format!("Cookie: {cookies}\r\n")))
                .await;
            assert_eq!(seen.header("cookie"), left, "{cookies}");
            assert!(!seen.head.contains("secret"), "{}", seen.head);
        }
    }
    // HTTP/2 splits cookies; the upstream of HTTP/1.1 gets one line.
    let target = scripted
        .deployment
        .target(&scripted.gateway, Some(&scripted.key.plain));
    let mut connection = target.connect(Mode::TlsHttp2).await;
    let request = target
        .request(Mode::TlsHttp2, "GET", "/api/a")
        .header("cookie", "a=1")
        .header("cookie", ours)
        .header("cookie", "b=2");
    let answer = connection
        .send(request.body(client::empty()).unwrap())
        .await;
    assert_eq!(answer.status(), 200);
    let seen = scripted.upstream.seen();
    assert_eq!(seen.last().unwrap().header("cookie"), ["a=1; b=2"]);
}
