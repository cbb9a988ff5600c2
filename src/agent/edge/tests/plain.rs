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
