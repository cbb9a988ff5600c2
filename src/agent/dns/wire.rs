//! DNS messages: bytes in, bytes out. What the answer is, `logic::dns` decides.

use std::collections::BTreeSet;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use logic::catalog::View;
use logic::config::DnsConfig;
use logic::dns::{self, Answer, Code, Data, Owner, Zone};
use logic::time::Time;

/// What every resolver takes over UDP.
const UDP_BYTES_MIN: usize = 512;
/// What we send at most over UDP, whatever a resolver claims to take.
const UDP_BYTES_MAX: usize = 4096;
const HEADER_BYTES: usize = 12;

/// How the question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What a message is replied to with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Ours(Vec<u8>),
    /// The name isn't ours: this is the refusal, if nobody else knows it.
    Outside(Vec<u8>),
}

impl Reply {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let (Self::Ours(bytes) | Self::Outside(bytes)) = self;
        bytes
    }
}

/// Turns a refusal into word that nobody could be asked.
pub(super) fn failed(mut refusal: Vec<u8>) -> Vec<u8> {
    if let Some(flags) = refusal.get_mut(3) {
        *flags = *flags & 0x70 | 0x80 | ResponseCode::ServFail.low();
    }
    refusal
}

/// What answers are made from.
pub(super) struct Source<'a> {
    pub(super) zone: &'a Zone,
    pub(super) view: &'a View,
    pub(super) now: Time,
    pub(super) below: &'a mut dyn FnMut(u64) -> u64,
    /// Questions about other domains can be passed on.
    pub(super) recursive: bool,
}

/// The reply to a message; none if it isn't a question and deserves none.
pub(super) fn reply(question: &[u8], transport: Transport, source: Source<'_>) -> Option<Reply> {
    let Ok(question) = Message::from_vec(question) else {
        return malformed(question).map(Reply::Ours);
    };
    if question.metadata.message_type == MessageType::Response {
        return None;
    }
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&question.metadata);
    reply.queries.clone_from(&question.queries);
    reply.edns = question.edns.as_ref().map(|edns| {
        let mut answered = Edns::new();
        answered.set_max_payload(edns.max_payload().max(512));
        answered
    });
    reply.metadata.recursion_available = source.recursive;
    let mut outside = false;
    let config = &source.zone.config;
    reply.metadata.response_code = answer(&question, &mut reply, source, &mut outside);
    if transport == Transport::Udp && question.edns.is_none() {
        reply.metadata.truncation = limit(&mut reply, config) && config.enable_truncate;
    }
    let size = match transport {
        Transport::Udp => usize::from(question.max_payload()).clamp(UDP_BYTES_MIN, UDP_BYTES_MAX),
        Transport::Tcp => usize::from(u16::MAX),
    };
    let bytes = fit(reply, size, config.disable_compression)?;
    Some(if outside {
        Reply::Outside(bytes)
    } else {
        Reply::Ours(bytes)
    })
}

/// Leaves out answers that are too many for who doesn't say how much it takes.
fn limit(reply: &mut Message, config: &DnsConfig) -> bool {
    let limit = config.udp_answer_limit;
    if limit == 0 || reply.answers.len() <= limit {
        return false;
    }
    reply.answers.truncate(limit);
    let named: BTreeSet<&Name> = reply.answers.iter().filter_map(target).collect();
    // What is said of the others that an SRV record names isn't asked for any more.
    reply.additionals.retain(|record| {
        let is_address = matches!(record.data, RData::A(_) | RData::AAAA(_));
        !is_address || named.contains(&record.name)
    });
    true
}

/// The host that an SRV record names, or the name server.
fn target(record: &Record) -> Option<&Name> {
    match &record.data {
        RData::SRV(srv) => Some(&srv.target),
        RData::NS(server) => Some(&server.0),
        _ => None,
    }
}

/// Tells the sender of something that looks like a question that it isn't one.
fn malformed(question: &[u8]) -> Option<Vec<u8>> {
    let header = question.get(..HEADER_BYTES)?;
    let is_reply = header[2] & 0x80 != 0;
    if is_reply {
        return None;
    }
    let mut reply = vec![0; HEADER_BYTES];
    reply[..2].copy_from_slice(&header[..2]);
    let (opcode, recursion_desired) = (header[2] & 0x78, header[2] & 0x01);
    reply[2] = 0x80 | opcode | recursion_desired;
    reply[3] = ResponseCode::FormErr.low();
    Some(reply)
}

fn answer(
    question: &Message,
    reply: &mut Message,
    source: Source<'_>,
    outside: &mut bool,
) -> ResponseCode {
    if question.metadata.op_code != OpCode::Query {
        return ResponseCode::NotImp;
    }
    if question.version() > 0 {
        return ResponseCode::BADVERS;
    }
    let [query] = question.queries.as_slice() else {
        return ResponseCode::FormErr;
    };
    if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
        return ResponseCode::Refused;
    }
    let asked = match query.query_type() {
        RecordType::A => dns::RecordType::A,
        RecordType::AAAA => dns::RecordType::Aaaa,
        RecordType::SRV => dns::RecordType::Srv,
        RecordType::TXT => dns::RecordType::Txt,
        RecordType::SOA => dns::RecordType::Soa,
        RecordType::NS => dns::RecordType::Ns,
        RecordType::PTR => dns::RecordType::Ptr,
        RecordType::ANY => dns::RecordType::Any,
        RecordType::AXFR | RecordType::IXFR => return ResponseCode::Refused,
        _ => dns::RecordType::Other,
    };
    let labels: Option<Vec<String>> = query.name().iter().map(label).collect();
    let Some(labels) = labels else {
        return ResponseCode::NXDomain;
    };
    let Source {
        zone,
        view,
        now,
        below,
        recursive: _,
    } = source;
    let Answer {
        code,
        answers,
        authorities,
        additionals,
    } = dns::answer(zone, view, &labels, asked, now, below);
    let write = |records: Vec<dns::Record>| {
        let written = records
            .into_iter()
            .filter_map(|one| record(one, query.name()));
        written.collect::<Vec<_>>()
    };
    reply.answers = write(answers);
    reply.authorities = write(authorities);
    reply.additionals = write(additionals);
    reply.metadata.authoritative = code != Code::Refused;
    match code {
        Code::NoError => ResponseCode::NoError,
        Code::NoSuchName => ResponseCode::NXDomain,
        Code::Refused => {
            *outside = true;
            ResponseCode::Refused
        }
    }
}

/// A label as text. One with a dot inside would look like two; no name of ours has any.
fn label(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains('.')).then(|| text.to_owned())
}

/// A record on the wire. None if a name in it can't be one, such as a node's that is too long.
fn record(record: dns::Record, question: &Name) -> Option<Record> {
    let owner = match &record.owner {
        Owner::Question => question.clone(),
        Owner::Name(name) => host(name)?,
    };
    let data = match record.data {
        Data::A(ip) => RData::A(A(ip)),
        Data::Aaaa(ip) => RData::AAAA(AAAA(ip)),
        Data::Cname(name) => RData::CNAME(CNAME(host(&name)?)),
        Data::Ns(name) => RData::NS(NS(host(&name)?)),
        Data::Ptr(name) => RData::PTR(PTR(host(&name)?)),
        Data::Srv { port, target } => RData::SRV(SRV::new(1, 1, port, host(&target)?)),
        Data::Txt(text) => RData::TXT(TXT::from_bytes(pieces(&text))),
        Data::Soa {
            primary,
            mailbox,
            serial,
            times,
        } => RData::SOA(SOA::new(
            host(&primary)?,
            host(&mailbox)?,
            serial,
            times.refresh.try_into().unwrap_or(i32::MAX),
            times.retry.try_into().unwrap_or(i32::MAX),
            times.expire.try_into().unwrap_or(i32::MAX),
            times.min_ttl,
        )),
    };
    Some(Record::from_rdata(owner, record.ttl, data))
}

fn host(name: &str) -> Option<Name> {
    let labels = name.trim_end_matches('.').split('.').map(str::as_bytes);
    Name::from_labels(labels).ok()
}

/// A text as the strings of at most 255 bytes that a TXT record is made of.
fn pieces(text: &str) -> Vec<&[u8]> {
    if text.is_empty() {
        return vec![b""];
    }
    text.as_bytes().chunks(255).collect()
}

/// Encodes a reply in at most `size` bytes. Additional records go first, which nobody misses;
/// then answers, which the `TC` flag tells, so that the client asks again over TCP.
fn fit(mut reply: Message, size: usize, plain: bool) -> Option<Vec<u8>> {
    let encode = |reply: &Message| encode(reply, plain);
    let whole = encode(&reply)?;
    if whole.len() <= size {
        return Some(whole);
    }
    let (answers, additionals) = (reply.answers.clone(), reply.additionals.clone());
    let mut with = |answers: &[Record], additionals: &[Record]| {
        reply.answers = answers.to_vec();
        reply.additionals = additionals.to_vec();
        encode(&reply)
    };
    let fits = |bytes: &Option<Vec<u8>>| bytes.as_ref().is_some_and(|bytes| bytes.len() <= size);
    let count = most(additionals.len(), |n| {
        fits(&with(&answers, &additionals[..n]))
    });
    if let Some(count) = count {
        return with(&answers, &additionals[..count]);
    }
    let count = most(answers.len(), |n| fits(&with(&answers[..n], &[]))).unwrap_or(0);
    let mut shortened = with(&answers[..count], &[])?;
    // The flag's place in a header never changes.
    shortened[2] |= 0x02;
    Some(shortened)
}

/// `plain`: no name refers to one before it.
fn encode(reply: &Message, plain: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(UDP_BYTES_MIN);
    let mut encoder = BinEncoder::new(&mut bytes);
    if plain {
        encoder.set_name_encoding(NameEncoding::Uncompressed);
    }
    match reply.emit(&mut encoder) {
        Ok(()) => Some(bytes),
        Err(error) => {
            tracing::debug!(%error, "can't encode a DNS reply");
            None
        }
    }
}

/// The largest number up to `max` for which something holds that holds for all smaller ones.
fn most(max: usize, mut holds: impl FnMut(usize) -> bool) -> Option<usize> {
    if !holds(0) {
        return None;
    }
    let (mut low, mut high) = (0, max);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}
