//! Requests that wait at an upstream when its node is lost.

use super::*;
use logic::model::{CHECK_CRITICAL, SERF_HEALTH};

/// A catalog with one passing instance on each node; `lost` is a node whose agent is gone.
fn view_of(nodes: &[(&str, SocketAddr)], lost: Option<&str>) -> Arc<View> {
    let mut contents = Contents::default();
    for (node, address) in nodes {
        let check = |check_id: &str, service_id: &str, passes: bool| Check {
            node: (*node).into(),
            check_id: check_id.into(),
            service_id: service_id.into(),
            status: if passes {
                CHECK_PASSING.into()
            } else {
                CHECK_CRITICAL.into()
            },
            ..Check::default()
        };
        contents.nodes.push(CatalogNode {
            node: (*node).into(),
            ..CatalogNode::default()
        });
        contents.services.push(ServiceInstance {
            node: (*node).into(),
            id: "web".into(),
            service: "web".into(),
            address: address.ip().to_string(),
            port: address.port(),
            tags: vec!["urlprefix-/".into()],
            ..ServiceInstance::default()
        });
        contents.checks.push(check("web-check", "web", true));
        contents
            .checks
            .push(check(SERF_HEALTH, "", Some(*node) != lost));
    }
    Arc::new(View::new(contents))
}

/// A backend that answers nothing until told to, and that stops to listen when told to.
struct Silent {
    address: SocketAddr,
    asked: Rc<Cell<usize>>,
    connections: Rc<Cell<usize>>,
    listens: watch::Sender<bool>,
    answers: watch::Sender<bool>,
}

async fn silent() -> Silent {
    let listener = TcpListener::bind((LOCALHOST, 0))
        .await
        .expect("a free port");
    let silent = Silent {
        address: listener.local_addr().expect("an address"),
        asked: Rc::default(),
        connections: Rc::default(),
        listens: watch::Sender::new(true),
        answers: watch::Sender::new(false),
    };
    let (asked, connections) = (silent.asked.clone(), silent.connections.clone());
    let (mut listens, answers) = (silent.listens.subscribe(), silent.answers.subscribe());
    spawn_local(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = listens.wait_for(|listens| !listens) => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, _) = accepted.expect("a connection");
            connections.set(connections.get() + 1);
            let (asked, mut answers) = (asked.clone(), answers.clone());
            spawn_local(async move {
                let unread = Vec::new();
                let mut talk = Talk { stream, unread };
                while find(&talk.unread, b"\r\n\r\n").is_none() {
                    if !talk.read().await {
                        return;
                    }
                }
                asked.set(asked.get() + 1);
                let told = answers.wait_for(|answers| *answers).await;
                told.expect("the test says when");
                talk.send("HTTP/1.1 200 OK\r\nX-Backend: slow\r\nContent-Length: 0\r\n\r\n")
                    .await;
                talk.rest().await;
            });
        }
    });
    silent
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn asking(running: &Running, request: &str, times: usize) -> Vec<Talk> {
    let mut talks = Vec::new();
    for _ in 0..times {
        let mut talk = running.connect().await;
        talk.send(request).await;
        talks.push(talk);
    }
    talks
}

const POST: &str = "POST / HTTP/1.1\r\nHost: any\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_request_that_waits_at_a_lost_node_goes_to_another() {
    story(async {
        let (dead, (alive, seen)) = (silent().await, telling_backend("alive").await);
        let nodes = [("n1", dead.address), ("n2", alive)];
        let running = edge(&[]).await;
        running.catalog.send_replace(view_of(&nodes, None));
        until(|| running.edge.table.load().rows().len() == 2).await;
        let gets = asking(&running, GET, 12).await;
        let posts = asking(&running, POST, 12).await;
        until(|| dead.asked.get() + seen.heads.borrow().len() == 24).await;
        assert!(dead.asked.get() > 1, "the seed gives both their share");
        dead.listens.send_replace(false);
        running.catalog.send_replace(view_of(&nodes, Some("n1")));
        for mut talk in gets {
            let (head, _) = talk.answer().await;
            assert_eq!(header(&head, "x-backend"), Some("alive"), "{head}");
        }
        let mut refused = 0;
        for mut talk in posts {
            let (head, body) = talk.answer().await;
            if status(&head) == "502" {
                refused += 1;
                assert_eq!(body, "the upstream's machine can't be reached any more\n");
            } else {
                assert_eq!(header(&head, "x-backend"), Some("alive"), "{head}");
            }
        }
        assert!(refused > 0, "what changes something isn't asked twice");
    });
}

#[test]
fn a_request_goes_on_waiting_if_only_the_agent_is_lost() {
    story(async {
        let (slow, (alive, _)) = (silent().await, telling_backend("alive").await);
        let nodes = [("n1", slow.address), ("n2", alive)];
        let running = edge(&[]).await;
        running.catalog.send_replace(view_of(&nodes[..1], None));
        until(|| running.edge.table.load().rows().len() == 1).await;
        let mut waiting = asking(&running, POST, 1).await;
        until(|| slow.asked.get() == 1).await;
        running.catalog.send_replace(view_of(&nodes, Some("n1")));
        until(|| slow.connections.get() > 2).await;
        slow.answers.send_replace(true);
        let (head, _) = waiting.remove(0).answer().await;
        assert_eq!(header(&head, "x-backend"), Some("slow"), "{head}");
    });
}
