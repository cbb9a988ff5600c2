//! What only shows with real connections: who leaves when, and what is left as it was sent.

use super::*;

/// A backend that answers `begun` and nothing more, and tells when its connection has ended.
async fn endless_backend(begun: &'static str) -> (SocketAddr, Rc<Cell<bool>>) {
    let ended = Rc::new(Cell::new(false));
    let told = ended.clone();
    let (address, _) = raw_backend(move |mut talk, _| {
        let ended = told.clone();
        async move {
            talk.head().await;
            talk.send(begun).await;
            talk.rest().await;
            ended.set(true);
        }
    })
    .await;
    (address, ended)
}

#[test]
fn an_upstream_isnt_kept_busy_for_a_client_that_has_left() {
    story(async {
        for begun in [
            "",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc",
        ] {
            let (backend, ended) = endless_backend(begun).await;
            let running = edge(&[("urlprefix-/", backend)]).await;
            let mut talk = running.connect().await;
            talk.send(GET).await;
            if !begun.is_empty() {
                talk.head().await;
            }
            assert!(!ended.get());
            drop(talk);
            while !ended.get() {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn headers_of_plain_requests_and_answers_keep_their_names_as_they_are() {
    story(async {
        let (backend, seen) = raw_backend(|mut talk, seen| async move {
            let head = talk.head().await;
            seen.heads.borrow_mut().push(head);
            talk.send("HTTP/1.1 200 Fine\r\nX-Some-Thing: A\r\nContent-Length: 0\r\n\r\n")
                .await;
            talk.rest().await;
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send("GET / HTTP/1.1\r\nHost: a\r\nX-Odd-CASE: b\r\n\r\n")
            .await;
        let head = talk.head().await;
        assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
        assert!(head.contains("\r\nX-Some-Thing: A\r\n"), "{head}");
        let asked = &seen.heads.borrow()[0];
        assert!(asked.contains("\r\nX-Odd-CASE: b\r\n"), "{asked}");
    });
}

#[test]
fn a_connection_goes_on_after_what_isnt_plain() {
    story(async {
        let (backend, seen) = telling_backend("a").await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        let traced = "GET /traced HTTP/1.1\r\nHost: a\r\nTrace: x\r\n\r\n";
        for asked in [GET, traced, GET] {
            talk.send(asked).await;
            assert_eq!(status(&talk.answer().await.0), "200");
        }
        assert_eq!(seen.heads.borrow().len(), 3);
        assert_eq!(running.edge.counters.requests.load(Relaxed), 3);
    });
}

#[test]
fn a_stop_waits_for_what_a_client_has_begun_to_send() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
            .await;
        // The edge has read it once a connection that came later has been answered.
        running.ask(GET).await;
        let stopping = running.edge.proxies[0].send(Stop { grace: PATIENCE });
        let stopping = spawn_local(stopping);
        tokio::task::yield_now().await;
        talk.send("def").await;
        let (head, body) = talk.answer().await;
        assert_eq!(header(&head, "connection"), Some("close"));
        assert!(body.ends_with("abcdef"), "{body}");
        assert_eq!(talk.rest().await, "");
        stopping.await.expect("no panic").expect("it stops");
    });
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    story(async {
        let (backend, _) = raw_backend(|mut talk, _| async move {
            talk.head().await;
            let answer =
                "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\nX: a\r\nContent-Length: 2\n\nok";
            for at in 0..answer.len() {
                talk.send(&answer[at..=at]).await;
                tokio::task::yield_now().await;
            }
            talk.rest().await;
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let (head, body) = running.ask(GET).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nX: a\r\n"), "{head}");
        assert_eq!(body, "ok");
    });
}

#[test]
fn a_broken_body_is_told_as_far_as_it_was_whole() {
    story(async {
        let (backend, _) = raw_backend(|mut talk, _| async move {
            talk.head().await;
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzzz")
                .await;
            talk.rest().await;
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send(GET).await;
        assert_eq!(status(&talk.head().await), "200");
        assert_eq!(talk.rest().await, "3\r\nabc\r\n");
    });
}

#[test]
fn where_there_is_no_route_a_status_without_a_body_has_none() {
    story(async {
        for (no_route_status, expected) in [(204, None), (404, Some("0")), (304, None)] {
            let settings = Settings {
                no_route_status,
                ..patient()
            };
            let running = edge_with(&[], settings, 1).await;
            let mut talk = running.connect().await;
            for _ in 0..2 {
                talk.send(GET).await;
                let head = talk.head().await;
                assert_eq!(status(&head), no_route_status.to_string());
                assert_eq!(header(&head, "content-length"), expected, "{head}");
            }
        }
    });
}
