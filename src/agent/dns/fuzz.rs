//! Any bytes as a question.

use std::collections::BTreeMap;

use hickory_proto::op::{Message, MessageType};
use logic::catalog::{Contents, View};
use logic::config::DnsConfig;
use logic::dns::Zone;
use logic::model::{CatalogNode, ServiceInstance};
use logic::time::Time;

use super::wire::{Reply, Source, Transport, failed, reply};

/// The first byte says how the message comes and how much there is to tell. Whatever the rest is,
/// the reply is one to it, is small enough, and is never replied to itself.
pub fn messages(data: &[u8]) {
    let (kind, question) = data.split_first().unwrap_or((&0, data));
    let view = view(kind >> 2);
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some(said) = ask(question, transport, &view, kind & 1 == 1) else {
            continue;
        };
        let refusal = matches!(said, Reply::Outside(_));
        let bytes = said.into_bytes();
        assert_eq!(bytes[..2], question[..2], "its number");
        assert!(bytes[2] & 0x80 != 0, "it is a reply");
        assert!(question[2] & 0x80 == 0, "to a question");
        let most = match (transport, Message::from_vec(question)) {
            (Transport::Udp, Ok(asked)) => asked.max_payload().clamp(512, 4_096),
            (Transport::Udp, Err(_)) => 12,
            (Transport::Tcp, _) => u16::MAX,
        };
        assert!(bytes.len() <= usize::from(most), "{} bytes", bytes.len());
        let read = Message::from_vec(&bytes);
        let read = read.unwrap_or_else(|error| panic!("it can't be read: {error}"));
        assert_eq!(read.metadata.message_type, MessageType::Response);
        assert!(ask(&bytes, transport, &view, true).is_none(), "no loops");
        if refusal {
            assert_eq!(failed(bytes.clone()).len(), bytes.len());
        }
    }
}

fn ask(question: &[u8], transport: Transport, view: &View, recursive: bool) -> Option<Reply> {
    let zone = Zone {
        domain: "consul".to_owned(),
        config: DnsConfig::default(),
    };
    let source = Source {
        zone: &zone,
        view,
        now: Time::from_secs(1_795_525_975),
        below: &mut |below| below - 1,
        recursive,
    };
    reply(question, transport, source)
}

/// Some nodes, and a service with an instance on each.
fn view(count: u8) -> View {
    let mut contents = Contents {
        datacenter: "dc1".to_owned(),
        ..Contents::default()
    };
    for n in 0..count {
        contents.nodes.push(CatalogNode {
            node: format!("n{n}"),
            address: format!("10.0.0.{n}"),
            meta: BTreeMap::from([("kind".to_owned(), "x".repeat(300))]),
            ..CatalogNode::default()
        });
        contents.services.push(ServiceInstance {
            node: format!("n{n}"),
            id: format!("web-{n}"),
            service: "web".to_owned(),
            tags: vec!["v1".to_owned()],
            port: 8_000,
            ..ServiceInstance::default()
        });
    }
    View::new(contents)
}
