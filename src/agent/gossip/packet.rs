//! What agents send each other in datagrams, in the clear or sealed.

use std::sync::Arc;

use logic::membership::Member;
use ports::Random;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::peer::{Peer, PeerOnWire, StateOnWire};
use crate::seal::Seal;
use crate::wire;

/// The first byte of a datagram: what follows, and the version of it.
const CLEAR: u8 = 0x11;
const SEALED: u8 = 0x91;

/// Datagrams that are longer might be lost on some networks.
pub(super) const DATAGRAM_BYTES_MAX: usize = 1_400;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Packet {
    /// One of foca's.
    Swim(Vec<u8>),
    Hello(Hello),
    /// To one that doesn't answer: say that you live, before all others hear that you don't.
    Suspected(Suspected),
    /// What the sender knows of others.
    Known(Vec<Rumour>),
    /// To a neighbour, which answers [`Packet::Here`].
    AreYouThere,
    Here {
        key: u128,
        generation: u64,
    },
}

/// How two agents meet that don't know each other, or think that the other one is dead.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) from: Arc<Member>,
    /// Goes back with the answer.
    pub(super) token: u64,
    pub(super) answer: bool,
    /// The receiver is dead to the sender, with this generation and all before it.
    pub(super) dead_until: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Suspected {
    pub(super) generation: u64,
    pub(super) incarnation: u16,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rumour {
    peer: PeerOnWire,
    pub(super) incarnation: u16,
    pub(super) state: StateOnWire,
    /// For how long it has been dead, in seconds.
    pub(super) dead_for: u32,
}

impl Rumour {
    pub(super) fn new(peer: &Peer, incarnation: u16, state: foca::State, dead_for: u32) -> Self {
        Self {
            peer: peer.into(),
            incarnation,
            state: state.into(),
            dead_for,
        }
    }

    pub(super) fn into_member(self) -> foca::Member<Peer> {
        foca::Member::new(self.peer.into(), self.incarnation, self.state.into())
    }
}

/// Spreads rumours over as few packets as hold them.
pub(super) fn known(rumours: Vec<Rumour>) -> Vec<Packet> {
    let room = super::peer::SWIM_BYTES_MAX;
    let mut packets = Vec::new();
    let (mut batch, mut length) = (Vec::new(), 0);
    for rumour in rumours {
        let needed = wire::encode(&rumour).map_or(room, |bytes| bytes.len());
        if length + needed > room && !batch.is_empty() {
            packets.push(Packet::Known(std::mem::take(&mut batch)));
            length = 0;
        }
        length += needed;
        batch.push(rumour);
    }
    if !batch.is_empty() {
        packets.push(Packet::Known(batch));
    }
    packets
}

/// Why a datagram is dropped.
#[derive(Debug, Error)]
pub(super) enum Refused {
    /// Another key, or none, or one too many.
    #[error("another key (encrypt) or none")]
    Key,
    #[error(transparent)]
    Malformed(#[from] wire::Error),
    #[error("it isn't of this version of the protocol")]
    Stranger,
}

/// Any bytes as a datagram.
pub(crate) fn fuzz_packet(data: &[u8]) {
    crate::fuzz::body::<Packet>(data);
    match Packet::read(data, &Seal::None) {
        Ok(_) => assert_eq!(data[0], CLEAR),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

impl Packet {
    pub(super) fn datagram(&self, seal: &Seal, random: &Random) -> Result<Vec<u8>, wire::Error> {
        let body = wire::encode(self)?;
        let kind = if seal.is_none() { CLEAR } else { SEALED };
        let mut datagram = vec![kind];
        datagram.extend(seal.close(random, &[kind], body));
        Ok(datagram)
    }

    pub(super) fn read(datagram: &[u8], seal: &Seal) -> Result<Self, Refused> {
        match (datagram.split_first(), seal) {
            (Some((&CLEAR, body)), Seal::None) => Ok(wire::decode(body)?),
            (Some((&SEALED, body)), Seal::Key(_)) => {
                let body = seal.open(&[SEALED], body).map_err(|_| Refused::Key)?;
                Ok(wire::decode(&body)?)
            }
            (Some((&CLEAR | &SEALED, _)), Seal::None | Seal::Key(_)) => Err(Refused::Key),
            (Some(_) | None, Seal::None | Seal::Key(_)) => Err(Refused::Stranger),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::tests::member;

    fn seal(key: char) -> Seal {
        let key = format!("{}=", key.to_string().repeat(43));
        Seal::configured(&key).expect("a key")
    }

    #[test]
    fn datagrams_are_read_with_the_same_key_only() {
        let random = Random::seeded(1);
        let packet = Packet::Suspected(Suspected {
            generation: 7,
            incarnation: 1,
        });
        let seals = [Seal::None, seal('A'), seal('E')];
        for (sender, sent) in seals.iter().enumerate() {
            let datagram = packet.datagram(sent, &random).expect("encodes");
            for (receiver, received) in seals.iter().enumerate() {
                let read = Packet::read(&datagram, received);
                if sender == receiver {
                    assert!(matches!(read, Ok(Packet::Suspected(_))));
                } else {
                    assert!(matches!(read, Err(Refused::Key)));
                }
            }
        }
        assert!(matches!(
            Packet::read(b"GET / HTTP/1.1", &Seal::None),
            Err(Refused::Stranger)
        ));
    }

    #[test]
    fn rumours_about_many_fit_into_datagrams() {
        let rumours: Vec<_> = (0..100)
            .map(|number| {
                let peer = Peer::new(Arc::new(member(number)), false);
                Rumour::new(&peer, 1, foca::State::Alive, 0)
            })
            .collect();
        let packets = known(rumours);
        let mut told = 0;
        for packet in &packets {
            let datagram = packet
                .datagram(&seal('A'), &Random::seeded(1))
                .expect("encodes");
            assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "{}", datagram.len());
            if let Packet::Known(rumours) = packet {
                told += rumours.len();
            }
        }
        assert_eq!(told, 100);
        assert!(packets.len() <= 12, "{} packets", packets.len());
    }
}
