//! Whole messages, over loopback and without it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use logic::catalog::Contents;
use logic::config::DnsConfig;
use logic::dns::Zone;
use logic::model::{CatalogNode, ServiceInstance};
use logic::time::Time;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::wire::{Source, Transport, reply};
use super::*;
use crate::edge::loopback::world;
use crate::published::{Publisher, publish};

/// A service with so many instances.
fn view(instances: u8) -> View {
    let mut contents = Contents {
        datacenter: "dc1".into(),
        ..Contents::default()
    };
    for n in 1..=instances {
        contents.nodes.push(CatalogNode {
            node: format!("n{n}"),
            address: format!("10.0.0.{n}"),
            meta: BTreeMap::from([("consul-network-segment".into(), String::new())]),
            ..CatalogNode::default()
        });
        contents.services.push(ServiceInstance {
            node: format!("n{n}"),
            id: format!("web-{n}"),
            service: "web".into(),
            address: format!("172.16.66.{n}"),
            port: 8000,
            ..ServiceInstance::default()
        });
    }
    contents.nodes.push(CatalogNode {
        node: "x".repeat(70),
        address: "10.0.1.1".into(),
        ..CatalogNode::default()
    });
    contents.services.push(ServiceInstance {
        node: "x".repeat(70),
        id: "odd-1".into(),
        service: "odd".into(),
        ..ServiceInstance::default()
    });
    View::new(contents)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut question = Message::new(7, hickory_proto::op::MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(name).expect("a name");
    question.add_query(Query::query(name, kind));
    question.metadata.recursion_desired = true;
    question
}

fn ttl(seconds: u32) -> DnsConfig {
    DnsConfig {
        service_ttl: BTreeMap::from([("*".to_owned(), seconds)]),
        ..DnsConfig::default()
    }
}

fn ask_bytes(bytes: &[u8], transport: Transport, instances: u8) -> Option<Vec<u8>> {
    ask_with(&ttl(3), bytes, transport, instances)
}

fn ask_with(
    config: &DnsConfig,
    bytes: &[u8],
    transport: Transport,
    instances: u8,
) -> Option<Vec<u8>> {
    let zone = Zone {
        domain: "consul".into(),
        config: config.clone(),
    };
    let source = Source {
        zone: &zone,
        view: &view(instances),
        now: Time::from_secs(1_795_525_975),
        below: &mut |below| below - 1,
        recursive: false,
    };
    reply(bytes, transport, source).map(super::wire::Reply::into_bytes)
}

fn ask(question: &Message, transport: Transport, instances: u8) -> Message {
    let bytes = question.to_vec().expect("a question");
    let reply = ask_bytes(&bytes, transport, instances).expect("a reply");
    Message::from_vec(&reply).expect("a message")
}

#[test]
fn who_says_nothing_of_its_size_gets_so_many_answers() {
    let mut config = DnsConfig {
        udp_answer_limit: 2,
        ..ttl(0)
    };
    let count = |config: &DnsConfig, question: &Message, transport| {
        let bytes = question.to_vec().expect("a question");
        let reply = ask_with(config, &bytes, transport, 4).expect("a reply");
        let reply = Message::from_vec(&reply).expect("a message");
        (
            reply.answers.len(),
            reply.additionals.len(),
            reply.metadata.truncation,
        )
    };
    let mut asked = question("web.service.consul.", RecordType::SRV);
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    // The texts about nodes stay: whose they are isn't said by a name that was left out.
    assert_eq!(count(&config, &asked, udp), (2, 6, false));
    assert_eq!(count(&config, &asked, tcp), (4, 8, false));
    config.enable_truncate = true;
    assert_eq!(count(&config, &asked, udp), (2, 6, true));
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    asked.set_edns(edns);
    assert_eq!(count(&config, &asked, udp), (4, 8, false));
}

#[test]
fn without_compression_names_are_whole() {
    let asked = question("web.service.consul.", RecordType::SRV);
    let bytes = asked.to_vec().expect("a question");
    let packed = ask_bytes(&bytes, Transport::Tcp, 4).expect("a reply");
    let config = DnsConfig {
        disable_compression: true,
        ..ttl(3)
    };
    let plain = ask_with(&config, &bytes, Transport::Tcp, 4).expect("a reply");
    assert!(
        plain.len() > packed.len() + 100,
        "{} {}",
        plain.len(),
        packed.len()
    );
    let read = |bytes: &[u8]| show(&Message::from_vec(bytes).expect("a message").answers);
    assert_eq!(read(&plain), read(&packed));
}

fn code(question: &Message) -> ResponseCode {
    ask(question, Transport::Udp, 2).metadata.response_code
}

fn show(records: &[hickory_proto::rr::Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}

#[test]
fn an_srv_reply_looks_like_consuls() {
    let mut asked = question("Web.service.consul.", RecordType::SRV);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    asked.set_edns(edns);
    let reply = ask(&asked, Transport::Udp, 2);
    assert_eq!(
        show(&reply.answers),
        [
            "Web.service.consul. 3 IN SRV 1 1 8000 ac104201.addr.dc1.consul.",
            "Web.service.consul. 3 IN SRV 1 1 8000 ac104202.addr.dc1.consul.",
        ]
    );
    assert_eq!(
        show(&reply.additionals),
        [
            "ac104201.addr.dc1.consul. 3 IN A 172.16.66.1",
            "n1.node.dc1.consul. 0 IN TXT consul-network-segment=",
            "ac104202.addr.dc1.consul. 3 IN A 172.16.66.2",
            "n2.node.dc1.consul. 0 IN TXT consul-network-segment=",
        ]
    );
    let flags = reply.metadata;
    assert!(flags.authoritative && flags.recursion_desired && !flags.recursion_available);
    assert_eq!((flags.id, flags.response_code), (7, ResponseCode::NoError));
    assert_eq!(reply.edns.expect("OPT is echoed").max_payload(), 1232);
    assert_eq!(reply.queries, asked.queries);
}

#[test]
fn an_unknown_name_is_nxdomain_with_the_zones_soa() {
    let reply = ask(
        &question("nosuch.service.consul.", RecordType::SRV),
        Transport::Udp,
        1,
    );
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(
        show(&reply.authorities),
        ["consul. 0 IN SOA ns.consul. hostmaster.consul. 1795525975 3600 600 86400 0"]
    );
    assert!(reply.edns.is_none(), "nobody spoke EDNS");
}

#[test]
fn what_isnt_a_plain_question_about_the_zone_gets_a_code() {
    let web = || question("web.service.consul.", RecordType::A);
    assert_eq!(code(&web()), ResponseCode::NoError);
    assert_eq!(
        code(&question("example.com.", RecordType::A)),
        ResponseCode::Refused
    );
    assert_eq!(
        code(&question("consul.", RecordType::AXFR)),
        ResponseCode::Refused
    );
    assert_eq!(
        code(&question("a\\.b.service.consul.", RecordType::A)),
        ResponseCode::NXDomain
    );
    assert_eq!(
        code(&question("web.service.consul.", RecordType::MX)),
        ResponseCode::NoError
    );
    let mut update = web();
    update.metadata.op_code = OpCode::Status;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut none = web();
    none.queries.clear();
    assert_eq!(code(&none), ResponseCode::FormErr);
    let mut chaos = web();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    let mut future = web();
    let mut edns = Edns::new();
    edns.set_version(1);
    future.set_edns(edns);
    // The number has two names.
    assert_eq!(u16::from(code(&future)), u16::from(ResponseCode::BADVERS));
}

#[test]
fn a_name_that_cant_be_written_is_left_out() {
    let reply = ask(
        &question("odd.service.consul.", RecordType::SRV),
        Transport::Udp,
        1,
    );
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.answers.is_empty());
}

#[test]
fn rubbish_is_a_format_error_and_replies_are_never_replied_to() {
    assert_eq!(ask_bytes(b"short", Transport::Udp, 1), None);
    let mut rubbish = question("web.service.consul.", RecordType::A)
        .to_vec()
        .expect("bytes");
    rubbish.truncate(20);
    let reply = ask_bytes(&rubbish, Transport::Udp, 1).expect("a reply");
    let reply = Message::from_vec(&reply).expect("a message");
    assert_eq!(
        (reply.metadata.id, reply.metadata.response_code),
        (7, ResponseCode::FormErr)
    );
    rubbish[2] |= 0x80;
    assert_eq!(ask_bytes(&rubbish, Transport::Udp, 1), None);
    let mut answer = question("web.service.consul.", RecordType::A);
    answer.metadata.message_type = hickory_proto::op::MessageType::Response;
    assert_eq!(
        ask_bytes(&answer.to_vec().expect("bytes"), Transport::Udp, 1),
        None
    );
}

#[test]
fn what_doesnt_fit_a_datagram_is_cut_and_whole_over_tcp() {
    let asked = question("web.service.consul.", RecordType::SRV);
    let bytes = asked.to_vec().expect("bytes");
    for (instances, cut) in [(3, false), (5, false), (100, true)] {
        let udp = ask_bytes(&bytes, Transport::Udp, instances).expect("a reply");
        assert!(udp.len() <= 512);
        let udp = Message::from_vec(&udp).expect("a message");
        assert_eq!(udp.metadata.truncation, cut, "{instances} instances");
        assert_eq!(udp.answers.len() < usize::from(instances), cut);
        let tcp = ask(&asked, Transport::Tcp, instances);
        assert_eq!(tcp.answers.len(), usize::from(instances));
        assert_eq!(tcp.additionals.len(), 2 * usize::from(instances));
        assert!(!tcp.metadata.truncation);
    }
    let mut roomy = asked.clone();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    roomy.set_edns(edns);
    let reply = ask(&roomy, Transport::Udp, 20);
    assert_eq!((reply.answers.len(), reply.additionals.len()), (20, 40));
}

fn story(test: impl Future<Output = ()>) {
    let patience = Duration::from_secs(30);
    let ended = System::new().block_on(async { timeout(patience, test).await });
    ended.expect("the test ends in time");
}

async fn listening() -> (Addr<DnsListener>, SocketAddr, Publisher<Arc<View>>) {
    let (catalog, kept) = publish(Arc::new(view(2)));
    let config = CatalogConfig {
        dns_port: 0,
        ..CatalogConfig::default()
    };
    let bind = Ipv4Addr::LOCALHOST.into();
    let listener = start(&world(1), &config, bind, kept)
        .await
        .expect("free ports");
    let address = listener.send(DescribeAddress).await.expect("an address");
    (listener, address, catalog)
}

#[test]
fn datagrams_are_answered_from_the_newest_catalog() {
    story(async {
        let (_listener, address, catalog) = listening().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let asked = question("web.service.consul.", RecordType::A)
            .to_vec()
            .expect("bytes");
        let mut buffer = [0; 4096];
        for instances in [2, 1, 5] {
            catalog.send_replace(Arc::new(view(instances)));
            socket.send_to(&asked, address).await.expect("sent");
            let length = socket.recv(&mut buffer).await.expect("received");
            let reply = Message::from_vec(&buffer[..length]).expect("a message");
            let mut addresses: Vec<_> = reply
                .answers
                .iter()
                .map(|record| match &record.data {
                    RData::A(ip) => ip.0,
                    other => panic!("{other:?}"),
                })
                .collect();
            addresses.sort();
            let expected = (1..=instances).map(|n| Ipv4Addr::new(172, 16, 66, n));
            assert_eq!(addresses, expected.collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_connection_takes_several_questions_and_closes_with_the_listener() {
    story(async {
        let (listener, address, _catalog) = listening().await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let asked = question("web.service.consul.", RecordType::SRV)
            .to_vec()
            .expect("bytes");
        let framed = [
            &u16::try_from(asked.len()).expect("short").to_be_bytes()[..],
            &asked,
        ]
        .concat();
        stream.write_all(&framed.repeat(3)).await.expect("sent");
        for _ in 0..3 {
            let length = stream.read_u16().await.expect("a length");
            let mut reply = vec![0; length.into()];
            stream.read_exact(&mut reply).await.expect("a reply");
            assert_eq!(
                Message::from_vec(&reply).expect("a message").answers.len(),
                2
            );
        }
        drop(listener);
        let end = stream.read_u8().await;
        assert!(end.is_err(), "closed");
    });
}

/// A recursor that answers everything with an empty answer.
async fn recursor() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("an address");
    let streams = tokio::net::TcpListener::bind(address).await;
    let streams = streams.expect("the port is free for TCP too");
    tokio::task::spawn_local(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            buffer[2] |= 0x80;
            // What isn't the answer comes first.
            socket.send_to(b"noise", from).await.expect("sent");
            socket.send_to(&buffer[..length], from).await.expect("sent");
        }
    });
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = streams.accept().await {
            let length = stream.read_u16().await.expect("a length");
            let mut message = vec![0; length.into()];
            stream.read_exact(&mut message).await.expect("a question");
            message[2] |= 0x80;
            stream.write_u16(length).await.expect("sent");
            stream.write_all(&message).await.expect("sent");
        }
    });
    address
}

async fn listening_with(recursors: Vec<String>) -> (Addr<DnsListener>, SocketAddr) {
    let (catalog, kept) = publish(Arc::new(view(2)));
    let config = CatalogConfig {
        dns_port: 0,
        recursors,
        ..CatalogConfig::default()
    };
    let bind = Ipv4Addr::LOCALHOST.into();
    let listener = start(&world(1), &config, bind, kept).await;
    let listener = listener.expect("free ports");
    drop(catalog);
    let address = listener.send(DescribeAddress).await.expect("an address");
    (listener, address)
}

async fn ask_datagram(address: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let asked = question(name, RecordType::A).to_vec().expect("bytes");
    socket.send_to(&asked, address).await.expect("sent");
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.expect("received");
    Message::from_vec(&buffer[..length]).expect("a message")
}

#[test]
fn other_domains_are_asked_of_the_first_recursor_that_answers() {
    story(async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let silent = silent.local_addr().expect("an address");
        let working = recursor().await;
        let recursors = vec![silent.to_string(), working.to_string()];
        let (_listener, address) = listening_with(recursors).await;
        let passed_on = ask_datagram(address, "example.com.").await;
        assert_eq!(passed_on.metadata.response_code, ResponseCode::NoError);
        assert!(passed_on.answers.is_empty());
        let ours = ask_datagram(address, "web.service.consul.").await;
        assert_eq!(ours.answers.len(), 2);
        assert!(ours.metadata.recursion_available);
        let nobody = ask_datagram(address, "nosuch.service.consul.").await;
        assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let asked = question("example.com.", RecordType::A)
            .to_vec()
            .expect("bytes");
        let length = u16::try_from(asked.len()).expect("short");
        stream.write_u16(length).await.expect("sent");
        stream.write_all(&asked).await.expect("sent");
        assert_eq!(stream.read_u16().await.expect("an answer"), length);
    });
}

#[test]
fn if_no_recursor_answers_the_server_failed() {
    story(async {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let closed = closed.local_addr().expect("an address").to_string();
        let (_listener, address) = listening_with(vec![closed]).await;
        let failed = ask_datagram(address, "example.com.").await;
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
        let (_listener, address) = listening_with(Vec::new()).await;
        let refused = ask_datagram(address, "example.com.").await;
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    });
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = ask_bytes(&bytes, Transport::Udp, 3);
    }

    #[test]
    fn no_broken_question_makes_it_panic(
        name in "([a-z_*]{0,4}\\.){0,3}(web|n1|7f000001)\\.(service|node|addr)\\.(dc1\\.)?consul\\.",
        kind in any::<u16>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let Ok(name) = Name::from_ascii(&name) else { return Ok(()) };
        let mut asked = Message::new(7, hickory_proto::op::MessageType::Query, OpCode::Query);
        asked.add_query(Query::query(name, RecordType::from(kind)));
        let mut bytes = asked.to_vec().expect("a question");
        let _ = ask_bytes(&bytes, Transport::Tcp, 3);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = ask_bytes(&bytes, Transport::Udp, 3);
    }
}
