//! The rows: what is sent, byte by byte, and what is right.

/// A name, a request, and the statuses that are right. In the request `¶` stands for CR LF, `KEY` for a
/// good key, `GET+` and `POST+` for the line, the host and the key that nothing is wrong with, and
/// `HIDDEN` for [a request](HIDDEN) in what somebody takes for a body.
pub(super) type Row = (&'static str, &'static str, &'static [u16]);

/// Each is refused, nothing of it arrives, and the connection closes.
pub(super) const REFUSED: &[Row] = &[
    (
        "TE unknown, then chunked",
        "POST+¶Transfer-Encoding: xchunked, chunked¶¶0¶¶",
        &[400, 501],
    ),
    (
        "TE identity, then chunked",
        "POST+¶Transfer-Encoding: identity, chunked¶¶0¶¶",
        &[400, 501],
    ),
    (
        "TE chunked twice",
        "POST+¶Transfer-Encoding: chunked, chunked¶¶0¶¶",
        &[400, 501],
    ),
    (
        "TE on two lines",
        "POST+¶Transfer-Encoding: chunked¶Transfer-Encoding: identity¶¶0¶¶",
        &[400, 501],
    ),
    (
        "TE on two lines, chunked last",
        "POST+¶Transfer-Encoding: identity¶Transfer-Encoding: chunked¶¶0¶¶",
        &[400, 501],
    ),
    (
        "TE with a control byte",
        "POST+¶Transfer-Encoding: \x0bchunked¶¶0¶¶",
        &[400, 501],
    ),
    (
        "TE not chunked",
        "POST+¶Transfer-Encoding: gzip¶¶",
        &[400, 501],
    ),
    (
        "TE in HTTP/1.0",
        "POST /api/a HTTP/1.0¶Host: a¶x-api-key: KEY¶Transfer-Encoding: chunked¶¶0¶¶",
        &[400],
    ),
    (
        "two lengths that differ",
        "POST+¶Content-Length: 5¶Content-Length: 6¶¶hello!",
        &[400],
    ),
    (
        "a list of lengths",
        "POST+¶Content-Length: 5, 6¶¶hello!",
        &[400],
    ),
    (
        "a length with a plus",
        "POST+¶Content-Length: +5¶¶hello",
        &[400],
    ),
    ("a length below zero", "POST+¶Content-Length: -0¶¶", &[400]),
    (
        "a hexadecimal length",
        "POST+¶Content-Length: 0x5¶¶hello",
        &[400],
    ),
    (
        "a length with an underscore",
        "POST+¶Content-Length: 1_0¶¶hellohello",
        &[400],
    ),
    (
        "a length that overflows",
        "POST+¶Content-Length: 18446744073709551621¶¶hello",
        &[400],
    ),
    ("an empty length", "POST+¶Content-Length:¶¶", &[400]),
    ("a folded header", "GET+¶X-One: 1¶ two¶¶", &[400]),
    (
        "a folded header, first of all",
        "GET /api/a HTTP/1.1¶ Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "a space before a colon",
        "GET+¶Content-Length : 5¶¶hello",
        &[400],
    ),
    ("a NUL in a value", "GET+¶X-One: 1\0¶¶", &[400]),
    ("a NUL in a name", "GET+¶X\0One: 1¶¶", &[400]),
    ("a control byte in a value", "GET+¶X-One: \x01¶¶", &[400]),
    ("a bare CR in a value", "GET+¶X-One: 1\rX-Two: 2¶¶", &[400]),
    ("no colon", "GET+¶X-One¶¶", &[400]),
    ("HTTP/0.9", "GET /api/a¶¶", &[400]),
    (
        "HTTP/1.2",
        "GET /api/a HTTP/1.2¶Host: a¶x-api-key: KEY¶¶",
        &[400, 505],
    ),
    ("no Host", "GET /api/a HTTP/1.1¶x-api-key: KEY¶¶", &[400]),
    (
        "an empty Host",
        "GET /api/a HTTP/1.1¶Host:¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "two Hosts",
        "GET /api/a HTTP/1.1¶Host: a¶Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "a list of Hosts",
        "GET /api/a HTTP/1.1¶Host: a, b¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "a user in the Host",
        "GET /api/a HTTP/1.1¶Host: b@a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "a user in the target",
        "GET http://b@a/api/a HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "a target's host other than Host",
        "GET http://b/api/a HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "an unknown expectation",
        "POST+¶Expect: 200-maybe¶Content-Length: 5¶¶",
        &[417],
    ),
    (
        "CONNECT",
        "CONNECT inside:443 HTTP/1.1¶Host: inside:443¶x-api-key: KEY¶¶",
        &[405],
    ),
    (
        "TRACE",
        "TRACE /api/a HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        &[405],
    ),
    (
        "an upgrade with a body",
        "POST+¶Connection: upgrade¶Upgrade: websocket¶Content-Length: 5¶¶hello",
        &[400],
    ),
    (
        "the target *",
        "OPTIONS * HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "a target that is a name",
        "GET admin HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "a target that is an authority and a path",
        "GET @evil/ HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "another scheme",
        "GET ftp://a/api/a HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        &[400],
    ),
    (
        "two keys",
        "GET+¶x-api-key: KEY¶Connection: close¶¶",
        &[400],
    ),
    (
        "a body without a key",
        "POST /api/a HTTP/1.1¶Host: a¶Content-Length: 5¶¶",
        &[401],
    ),
    (
        "a body in chunks without a key",
        "POST /api/a HTTP/1.1¶Host: a¶Transfer-Encoding: chunked¶¶",
        &[401],
    ),
];

/// A body that is malformed when part of it may be on its way: the upstream sees no whole request.
pub(super) const CUT: &[Row] = &[
    (
        "a chunk size that is none",
        "POST+¶Transfer-Encoding: chunked¶¶5x¶hello¶0¶¶",
        &[400],
    ),
    (
        "an empty chunk size",
        "POST+¶Transfer-Encoding: chunked¶¶¶hello¶0¶¶",
        &[400],
    ),
    (
        "a chunk size that overflows",
        "POST+¶Transfer-Encoding: chunked¶¶fffffffffffffffff1¶hello¶0¶¶",
        &[400],
    ),
    (
        "LF in a chunk extension",
        "POST+¶Transfer-Encoding: chunked¶¶5;a\nb¶hello¶0¶¶",
        &[400],
    ),
    (
        "a chunk longer than it says",
        "POST+¶Transfer-Encoding: chunked¶¶5¶hello!¶0¶¶",
        &[400],
    ),
    (
        "a body that stops",
        "POST+¶Content-Length: 6¶¶hello",
        &[408],
    ),
    (
        "a body in chunks above the limit",
        "POST+¶Transfer-Encoding: chunked¶¶ffffff¶hello",
        &[408, 413],
    ),
];

/// What hyper's parser decides before anybody else can look, and decides otherwise than it should.
/// The right answer is 400; until a guard reads the bytes before hyper does, this is what holds:
/// exactly one request arrives, framed by genkan, and what is hidden behind it is never a request
/// unless the bytes themselves say so to every reader.
pub(super) const NOT_YET: &[Row] = &[
    // hyper removes the length before the service sees it, reads the chunks, and closes.
    (
        "CL, then TE",
        "POST+¶Content-Length: 5¶Transfer-Encoding: chunked¶¶0¶¶HIDDEN",
        &[200],
    ),
    (
        "TE, then CL",
        "POST+¶Transfer-Encoding: chunked¶Content-Length: 5¶¶0¶¶HIDDEN",
        &[200],
    ),
    (
        "CL over all, and TE",
        "POST+¶Content-Length: 200¶Transfer-Encoding: chunked¶¶0¶¶HIDDEN",
        &[200],
    ),
    // httparse takes LF for a line end (RFC 9112 section 2.2 lets a recipient do so).
    (
        "bare LF",
        "GET /api/a HTTP/1.1\nHost: a\nx-api-key: KEY\nConnection: close\n\n",
        &[200],
    ),
];

/// A whole request with a key that is hidden in what somebody takes for a body. It must never be
/// answered, and never arrive.
const HIDDEN: &str = "GET /api/hidden HTTP/1.1¶Host: a¶x-api-key: KEY¶¶";

/// The bytes of a row's request.
pub(super) fn bytes(request: &str, key: &str) -> String {
    const PLAIN: &str = "+ /api/a HTTP/1.1¶Host: a¶x-api-key: KEY";
    let (method, rest) = request.split_once('+').unwrap_or((request, ""));
    let whole = match method {
        "GET" | "POST" => PLAIN.replacen('+', method, 1) + rest,
        _ => request.to_owned(),
    };
    whole
        .replace("HIDDEN", HIDDEN)
        .replace("KEY", key)
        .replace('¶', "\r\n")
}
