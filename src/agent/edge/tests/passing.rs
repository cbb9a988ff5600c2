//! Connections that are passed on as they are, by port and by server name.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use logic::config::EdgeProtocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::https::{anyone, tls_backend};
use super::*;

/// An edge with one listener of this kind. `PORT` in a tag is the listener's own port.
async fn passing_edge(protocol: EdgeProtocol, routes: &[(&str, SocketAddr)]) -> Running {
    let (catalog, empty) = publish(view(&[]));
    let listener = EdgeListener {
        protocol,
        ..EdgeListener::http(0)
    };
    let config = EdgeConfig {
        listeners: vec![listener],
        ui_port: 0,
        ..EdgeConfig::default()
    };
    let edge = start(&world(1), &config, LOCALHOST, empty).await;
    let running = Running {
        edge: edge.expect("free ports"),
        catalog,
    };
    running.route(routes).await;
    running
}

impl Running {
    pub(super) async fn route(&self, routes: &[(&str, SocketAddr)]) {
        let port = self.edge.addresses[0].port().to_string();
        let tags: Vec<_> = routes
            .iter()
            .map(|(tag, address)| (tag.replace("PORT", &port), *address))
            .collect();
        let routes: Vec<_> = tags.iter().map(|(tag, at)| (tag.as_str(), *at)).collect();
        self.catalog.send_replace(view(&routes));
        while self.edge.table.load().rows().len() != routes.len() {
            tokio::task::yield_now().await;
        }
    }

    fn counted(&self) -> [u64; 4] {
        let Counters {
            connections,
            no_route,
            upstream_errors,
            retried,
            ..
        } = &*self.edge.counters;
        [connections, no_route, upstream_errors, retried].map(|count| count.load(Relaxed))
    }
}

/// Says its name, then what it was told once the client has nothing more to say.
async fn echo_after_end(name: &'static str) -> SocketAddr {
    let (address, _) = raw_backend(move |mut talk, _| async move {
        talk.send(name).await;
        let told = talk.rest().await;
        talk.send(&told).await;
    })
    .await;
    address
}

#[test]
fn a_connection_is_passed_on_and_each_direction_ends_by_itself() {
    story(async {
        let backend = echo_after_end("hello,").await;
        let running =
            passing_edge(EdgeProtocol::Tcp, &[("urlprefix-:PORT proto=tcp", backend)]).await;
        let mut talk = running.connect().await;
        assert_eq!(talk.body(6).await, "hello,");
        let much = "x".repeat(300_000);
        talk.send(&much).await;
        talk.stream.shutdown().await.expect("half closed");
        assert_eq!(talk.rest().await, much);
        assert_eq!(running.counted(), [1, 0, 0, 0]);
    });
}

#[test]
fn a_connection_that_is_refused_goes_on_to_another_instance() {
    story(async {
        let (dead, dead_too, alive) = (
            nobody().await,
            nobody().await,
            echo_after_end("alive").await,
        );
        let tag = "urlprefix-:PORT proto=tcp";
        let routes = [(tag, dead), (tag, alive), (tag, dead_too)];
        let running = passing_edge(EdgeProtocol::Tcp, &routes).await;
        for _ in 0..20 {
            let mut talk = running.connect().await;
            assert_eq!(talk.body(5).await, "alive");
        }
        let [connections, _, errors, retried] = running.counted();
        assert_eq!((connections, errors), (20, 0));
        assert!(retried > 0, "the seed gives the dead their share");
        running.route(&[(tag, dead), (tag, dead_too)]).await;
        assert_eq!(running.connect().await.rest().await, "");
        assert_eq!(running.counted()[2], 1);
    });
}

#[test]
fn a_withdrawn_route_takes_no_new_connections_and_keeps_those_it_has() {
    story(async {
        let backend = echo_after_end("hello").await;
        let running =
            passing_edge(EdgeProtocol::Tcp, &[("urlprefix-:PORT proto=tcp", backend)]).await;
        let mut talk = running.connect().await;
        talk.body(5).await;
        running.route(&[]).await;
        assert_eq!(running.connect().await.rest().await, "");
        assert_eq!(running.counted(), [1, 1, 0, 0]);
        talk.send("still here").await;
        talk.stream.shutdown().await.expect("half closed");
        assert_eq!(talk.rest().await, "still here");
    });
}

#[test]
fn a_stop_cuts_connections_that_dont_end_in_time() {
    story(async {
        let backend = echo_after_end("hello").await;
        let running =
            passing_edge(EdgeProtocol::Tcp, &[("urlprefix-:PORT proto=tcp", backend)]).await;
        let mut talk = running.connect().await;
        talk.body(5).await;
        running.edge.stop(Duration::from_millis(50)).await;
        assert_eq!(talk.rest().await, "");
    });
}

/// A connection whose bytes go out one by one.
struct Slowly(TcpStream);

impl AsyncRead for Slowly {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Slowly {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let one = bytes.len().min(1);
        Pin::new(&mut self.0).poll_write(context, &bytes[..one])
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Asks the server of this name over TLS.
async fn ask_server(running: &Running, name: &str) -> std::io::Result<String> {
    let stream = TcpStream::connect(running.edge.addresses[0]).await?;
    stream.set_nodelay(true)?;
    let mut config = anyone();
    // Records of the smallest size: the hello comes in several.
    config.max_fragment_size = Some(32 + 5);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, Slowly(stream))
        .await?;
    stream.write_all(GET.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = vec![0; 1000];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn tls_connections_go_unread_to_the_server_they_want() {
    story(async {
        let (one, two) = (tls_backend("one").await, tls_backend("two").await);
        let routes = [
            ("urlprefix-mysite-sni-1.com/ proto=tcp+sni", one.address),
            ("urlprefix-*.example.com/ proto=tcp", two.address),
        ];
        let running = passing_edge(EdgeProtocol::TcpSni, &routes).await;
        for (name, backend) in [
            ("mysite-sni-1.com", "one"),
            ("MYSITE-sni-1.com", "one"),
            ("a.example.com", "two"),
        ] {
            let answer = ask_server(&running, name).await.expect(name);
            assert!(answer.ends_with(backend), "{name}: {answer}");
        }
        for nameless in ["nope.com", "127.0.0.1"] {
            let refused = ask_server(&running, nameless).await;
            assert!(refused.is_err(), "{nameless}: {refused:?}");
        }
        assert_eq!(running.counted(), [3, 1, 0, 0]);
    });
}

#[test]
fn what_is_no_tls_is_hung_up_on() {
    story(async {
        let backend = tls_backend("one").await;
        let routes = [("urlprefix-a.com/ proto=tcp+sni", backend.address)];
        let running = passing_edge(EdgeProtocol::TcpSni, &routes).await;
        assert_eq!(running.ask_and_close(GET).await, "");
        assert_eq!(running.ask_and_close("").await, "");
        assert_eq!(running.counted(), [0, 0, 0, 0]);
    });
}

impl Running {
    async fn ask_and_close(&self, text: &str) -> String {
        let mut talk = self.connect().await;
        talk.send(text).await;
        talk.stream.shutdown().await.expect("half closed");
        talk.rest().await
    }
}
