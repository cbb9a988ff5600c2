//! Exchanges by hand and by chance, each played both ways.

use proptest::prelude::*;

use super::differential::compare;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok";

/// Plays an exchange both ways; how many requests went the plain way, which leaves the names of
/// headers as they are.
fn plain(kind: u8, sent: &str, answer: &str) -> usize {
    let data = [&[kind], sent.as_bytes(), b"\n====\n", answer.as_bytes()].concat();
    let plain = |asked: &&Vec<u8>| asked.windows(8).any(|bytes| bytes == b"\r\nHost: ");
    compare(&data).asked.iter().filter(plain).count()
}

fn lines(headers: &[&str]) -> String {
    let lines = headers.iter().flat_map(|line| [line, "\r\n"]);
    lines.collect()
}

#[test]
fn what_is_plain_is_answered_here_and_the_rest_as_well_by_hyper() {
    let get = "GET /a?b=1 HTTP/1.1\r\nHost: web.example:9999\r\nUser-Agent: x\r\n\r\n";
    let post = "POST /cut/b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    let chunked = "PUT /pre/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\n\r\n";
    for (sent, expected) in [
        (get.to_owned(), 1),
        (get.repeat(3), 3),
        (format!("{get}{post}{get}"), 3),
        (format!("{get}{chunked}{get}"), 1),
        (
            "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(),
            1,
        ),
        ("GET /far/x HTTP/1.1\r\nHost: a\r\n\r\n".into(), 0),
        ("GET / HTTP/1.1\r\nHost: odd.example\r\n\r\n".into(), 0),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n".into(), 0),
        ("GET / HTTP/1.1\r\n\r\n".into(), 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 0),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n".into(),
            0,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-b\r\nX-B: 1\r\n\r\n".into(),
            0,
        ),
        ("GET /%zz\"{ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 0),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"
                .into(),
            0,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc".into(),
            0,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"
                .into(),
            0,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(),
            0,
        ),
        ("nonsense\r\n\r\n".into(), 0),
        (format!("{get}nonsense\r\n\r\n"), 1),
        (format!("\r\n\r\n{get}"), 1),
        (get.replace("\r\n", "\n"), 1),
    ] {
        for kind in 0..8 {
            let found = plain(kind, &sent, OK);
            assert_eq!(found, expected, "kind {kind}: {sent:?}");
        }
    }
}

#[test]
fn answers_of_every_kind_are_passed_on_as_hyper_does() {
    let sent = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n\
                GET /3 HTTP/1.1\r\nHost: a\r\n\r\n";
    for answer in [
        OK,
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\nETag: x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 404 Gone Away\r\n\
         Content-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: close, x-b\r\nX-B: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: content-length, date\r\nDate: x\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
        "",
    ] {
        for kind in 0..8 {
            plain(kind, sent, answer);
        }
    }
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

fn request() -> impl Strategy<Value = String> {
    let header = one_of(&[
        "Accept: */*",
        "X-A: b",
        "x-a:  c ",
        "Cookie: a=b; c=d",
        "Connection: close",
        "Connection: keep-alive",
        "Connection: X-A",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: x",
        "Expect: 100-continue",
        "X-Forwarded-For: 9.9.9.9",
        "X-Real-Ip: 9.9.9.9",
        "Forwarded: for=9.9.9.9",
        "X-Forwarded-Host: b",
        "X-Forwarded-Prefix: /p",
        "Host: other",
        "Trailer: T",
        "Content-Length: 3",
        "Content-Length: 0",
        "Content-Length: 03",
        "Upgrade: websocket",
        "Transfer-Encoding: chunked",
        "Trace: abc",
        "X-\u{e9}: 1",
        "Empty:",
        " folded",
    ]);
    let plain = one_of(&["Accept: */*", "X-A: b", "User-Agent: x y", "Cookie: a=b"]);
    let headers = prop_oneof![
        3 => prop::collection::vec(plain, 0..4),
        2 => prop::collection::vec(header, 0..5),
    ];
    let method = one_of(&[
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "get",
    ]);
    let target = one_of(&[
        "/",
        "/a?b=c",
        "/cut",
        "/cut/x?",
        "/cutx",
        "/pre/x",
        "/far/x",
        "//a",
        "/a b",
        "/a#b",
        "*",
        "http://a/x",
        "/%41/../b",
        "/a\\b",
        "/a|b",
        "?x",
        "/\u{e9}",
        "/a?b?c=/d",
        "/{a}",
    ]);
    let version = prop_oneof![6 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0")];
    let host = prop_oneof![
        6 => one_of(&["Host: a\r\n", "host: web.example:80\r\n", "HOST: [::1]:1\r\n"]),
        1 => one_of(&["", "Host:\r\n", "Host: a b\r\n", "Host: u@h\r\n", "Host: odd.example\r\n"]),
    ];
    let body = one_of(&["", "", "", "abc", "3\r\nabc\r\n0\r\n\r\n"]);
    (method, target, version, host, headers, body).prop_map(
        |(method, target, version, host, headers, body)| {
            let lines = lines(&headers);
            format!("{method} {target} {version}\r\n{host}{lines}\r\n{body}")
        },
    )
}

fn answer() -> impl Strategy<Value = String> {
    let header = one_of(&[
        "Content-Length: 3",
        "content-length: 3, 3",
        "Content-Length: 0",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        "transfer-encoding: gzip",
        "Connection: close",
        "Connection: keep-alive, X-A",
        "X-A: b",
        "Date: Tue",
        "Upgrade: h2c",
        "Trailer: T",
        "Keep-Alive: 5",
        "Strict-Transport-Security: x",
        "Set-Cookie: a",
        "Set-Cookie: b",
        "X-Empty:",
        "TE: x",
        "Proxy-Authenticate: x",
    ]);
    let status = one_of(&[
        "200 OK",
        "200 Fine",
        "200",
        "204 No Content",
        "304 Not Modified",
        "404 Not Found",
        "500 X",
        "101 Switching Protocols",
        "100 Continue",
        "199 Odd",
        "099 X",
        "1000 X",
    ]);
    let version = prop_oneof![5 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/1.2")];
    let body = one_of(&[
        "abc",
        "",
        "3\r\nabc\r\n0\r\n\r\n",
        "3;e\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        "3\nabc",
    ]);
    let headers = prop::collection::vec(header, 0..5);
    let one = (version, status, headers, body).prop_map(|(version, status, headers, body)| {
        let lines = lines(&headers);
        format!("{version} {status}\r\n{lines}\r\n{body}")
    });
    let one = one.boxed();
    let two = (one.clone(), one.clone()).prop_map(|(first, second)| first + &second);
    prop_oneof![1 => Just(OK.to_owned()), 2 => one, 1 => two]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_ways_mean_the_same(
        kind in 0..16_u8,
        requests in prop::collection::vec(request(), 1..4),
        answer in answer(),
    ) {
        plain(kind, &requests.concat(), &answer);
    }
}
