//! Who may use a route, what goes around with requests, and the PROXY protocol.

use logic::config::{EdgeProtocol, ListenerOptions};

use super::*;

async fn listening(options: ListenerOptions, tags: &[(&str, SocketAddr)]) -> Running {
    listening_as(EdgeProtocol::Http, options, EdgeConfig::default(), tags).await
}

pub(super) async fn listening_as(
    protocol: EdgeProtocol,
    options: ListenerOptions,
    config: EdgeConfig,
    tags: &[(&str, SocketAddr)],
) -> Running {
    let (catalog, view) = publish(view(tags));
    let config = EdgeConfig {
        listeners: vec![EdgeListener {
            protocol,
            options,
            ..EdgeListener::http(0)
        }],
        ui_port: 0,
        ..config
    };
    let edge = start(&world(1), &config, LOCALHOST, view).await;
    Running {
        edge: edge.expect("free ports"),
        catalog,
    }
}

#[test]
fn a_route_is_open_to_whom_its_tag_says() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[
            ("urlprefix-open.com/ allow=ip:127.0.0.0/8", backend),
            ("urlprefix-shut.com/ allow=ip:10.0.0.0/8", backend),
            ("urlprefix-denied.com/ deny=ip:127.0.0.1", backend),
        ])
        .await;
        for (host, forwarded, expected) in [
            ("open.com", "", "200"),
            (
                "open.com",
                "X-Forwarded-For: 127.0.0.9, 127.0.0.8\r\n",
                "200",
            ),
            (
                "open.com",
                "X-Forwarded-For: 127.0.0.9, 192.0.2.1\r\n",
                "403",
            ),
            ("shut.com", "", "403"),
            ("denied.com", "", "403"),
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{forwarded}\r\n");
            let (head, _) = running.ask(&request).await;
            assert_eq!(status(&head), expected, "{host} {forwarded}");
        }
    });
}

#[test]
fn a_proxy_header_tells_who_connects() {
    story(async {
        let (backend, seen) = telling_backend("a").await;
        let options = ListenerOptions {
            proxy_header: Some(Duration::from_secs(5)),
            ..ListenerOptions::default()
        };
        let running = listening(options, &[("urlprefix-/", backend)]).await;
        let line = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";
        let (head, _) = running.ask(&format!("{line}{GET}")).await;
        assert_eq!(status(&head), "200");
        let told = seen.heads.borrow()[0].clone();
        assert_eq!(header(&told, "x-forwarded-for"), Some("192.0.2.7"));
        let mut talk = running.connect().await;
        talk.send(GET).await;
        assert_eq!(
            talk.rest().await,
            "",
            "without the header nothing is served"
        );
    });
}

#[test]
fn an_upstream_that_asks_for_it_is_told_who_connects() {
    story(async {
        let (backend, _) = raw_backend(|mut talk, _| async move {
            let told = talk.rest().await;
            talk.send(&told).await;
        })
        .await;
        let (catalog, empty) = publish(view(&[]));
        let config = EdgeConfig {
            listeners: vec![EdgeListener {
                protocol: EdgeProtocol::Tcp,
                ..EdgeListener::http(0)
            }],
            ui_port: 0,
            ..EdgeConfig::default()
        };
        let edge = start(&world(1), &config, LOCALHOST, empty).await;
        let running = Running {
            edge: edge.expect("free ports"),
            catalog,
        };
        running
            .route(&[("urlprefix-:PORT proto=tcp pxyproto=true", backend)])
            .await;
        let mut talk = running.connect().await;
        let (own, port) = (
            talk.stream.local_addr().expect("an address").port(),
            running.edge.addresses[0].port(),
        );
        talk.send("hello").await;
        talk.stream.shutdown().await.expect("half closed");
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}\r\nhello");
        assert_eq!(talk.rest().await, expected);
    });
}

#[test]
fn requests_get_the_headers_that_are_configured() {
    story(async {
        let (backend, seen) = telling_backend("a").await;
        let mut config = EdgeConfig::default();
        config.proxy.request_id_header = "x-request-id".to_owned();
        config.proxy.local_ip = "192.0.2.1".parse().ok();
        config.proxy.strict_transport = "max-age=1".to_owned();
        let options = ListenerOptions::default();
        let tags = [("urlprefix-/", backend)];
        let running = listening_as(EdgeProtocol::Http, options, config, &tags).await;
        for _ in 0..2 {
            let (head, _) = running.ask(GET).await;
            let strict = header(&head, "strict-transport-security");
            assert_eq!(strict, None, "only over TLS");
        }
        let heads = seen.heads.borrow();
        let ids: Vec<_> = heads
            .iter()
            .map(|head| header(head, "x-request-id"))
            .collect();
        assert!(
            ids[0].is_some_and(|id| id.len() == 36) && ids[0] != ids[1],
            "{ids:?}"
        );
        let forwarded = header(&heads[0], "forwarded").expect("a header");
        assert!(forwarded.contains("by=192.0.2.1"), "{forwarded}");
    });
}

#[test]
fn turns_are_taken_if_asked_for() {
    story(async {
        let (a, _) = telling_backend("a").await;
        let (b, _) = telling_backend("b").await;
        let mut config = EdgeConfig::default();
        config.proxy.strategy = logic::config::Strategy::RoundRobin;
        let options = ListenerOptions::default();
        let tags = [("urlprefix-/", a), ("urlprefix-/", b)];
        let running = listening_as(EdgeProtocol::Http, options, config, &tags).await;
        let mut told = String::new();
        for _ in 0..6 {
            told.push_str(&running.ask(GET).await.1[..1]);
        }
        assert!(told == "ababab" || told == "bababa", "{told}");
    });
}
