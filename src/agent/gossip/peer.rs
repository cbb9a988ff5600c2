//! Who a member is to foca, and how members look in its packets.

use std::convert::Infallible;
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use foca::{Header, Message, PeriodicParams, State};
use logic::membership::{Member, MemberStatus};
use ports::Random;
use rand_core::TryRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire;

/// foca's packets are at most this long; with what goes around them they fit any network.
pub(super) const SWIM_BYTES_MAX: usize = 1_300;

/// A header holds up to three members, and there must be room for one more after it.
pub(super) const MEMBER_BYTES_MAX: usize = 320;

/// How often each agent asks another whether it is alive.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long to wait for its answer before others are asked to ask it.
const ANSWER_WITHIN: Duration = Duration::from_millis(120);
/// How long a suspect has to say that it is alive.
pub(super) const SUSPECT_FOR: Duration = Duration::from_millis(1_100);

/// A member as foca sees it. Cheap to clone. Of two with the same id the newer one counts, and of
/// two equally new ones the one that has left.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) member: Arc<Member>,
    pub(super) left: bool,
    /// Stands for the member's id: foca compares it again and again.
    key: u128,
}

impl Peer {
    pub(super) fn new(member: Arc<Member>, left: bool) -> Self {
        let key = fnv(member.id.as_bytes());
        Self { member, left, key }
    }

    /// The same member, after it has left.
    pub(super) fn gone(&self) -> Self {
        Self {
            left: true,
            ..self.clone()
        }
    }

    /// The same member with that generation, and not gone.
    pub(super) fn reborn(&self, generation: u64) -> Self {
        let mut member = Member::clone(&self.member);
        member.generation = generation;
        Self {
            member: Arc::new(member),
            left: false,
            key: self.key,
        }
    }

    pub(super) fn key(&self) -> u128 {
        self.key
    }

    pub(super) fn is_same_node(&self, other: &Self) -> bool {
        self.key == other.key
    }

    fn age(&self) -> (u64, bool) {
        (self.member.generation, self.left)
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.age() == other.age()
    }
}

impl Eq for Peer {}

impl foca::Identity for Peer {
    type Addr = u128;

    /// What one that was taken for dead goes on as.
    fn renew(&self) -> Option<Self> {
        let next = self.member.generation.checked_add(1)?;
        (!self.left).then(|| self.reborn(next))
    }

    fn addr(&self) -> u128 {
        self.key
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.age() > adversary.age()
    }
}

/// FNV-1a, of 128 bits.
fn fnv(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
}

/// How fast failures are found: a silent agent counts as failed about two seconds later.
pub(super) fn config() -> foca::Config {
    let count = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
    foca::Config {
        probe_period: PROBE_EVERY,
        probe_rtt: ANSWER_WITHIN,
        num_indirect_probes: count(3),
        max_transmissions: NonZeroU8::new(10).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: SUSPECT_FOR,
        remove_down_after: None,
        max_packet_size: count(SWIM_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams {
            frequency: Duration::from_millis(200),
            num_members: count(3),
        }),
    }
}

/// Lets foca draw from the world's randomness.
pub(super) struct Dice(pub(super) Random);

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for part in bytes.chunks_mut(8) {
            let random = self.0.next_u64().to_le_bytes();
            part.copy_from_slice(&random[..part.len()]);
        }
        Ok(())
    }
}

#[derive(Debug, Error)]
pub(super) enum CodecError {
    #[error("the packet is full")]
    Full,
    #[error(transparent)]
    Wire(#[from] wire::Error),
}

/// The encoding of foca's headers and members.
pub(super) struct Codec;

/// What is encoded of a [`Peer`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PeerOnWire(Arc<Member>, bool);

impl From<&Peer> for PeerOnWire {
    fn from(peer: &Peer) -> Self {
        Self(Arc::clone(&peer.member), peer.left)
    }
}

impl From<PeerOnWire> for Peer {
    fn from(PeerOnWire(member, left): PeerOnWire) -> Self {
        Self::new(member, left)
    }
}

/// foca's messages; some name a third member.
#[derive(Serialize, Deserialize)]
enum MessageOnWire {
    Ping(u8),
    Ack(u8),
    PingReq(PeerOnWire, u8),
    IndirectPing(PeerOnWire, u8),
    IndirectAck(PeerOnWire, u8),
    ForwardedAck(PeerOnWire, u8),
    Announce,
    Feed,
    Gossip,
    Broadcast,
    TurnUndead,
}

impl From<&Message<Peer>> for MessageOnWire {
    fn from(message: &Message<Peer>) -> Self {
        match message {
            Message::Ping(number) => Self::Ping(*number),
            Message::Ack(number) => Self::Ack(*number),
            Message::PingReq {
                target,
                probe_number,
            } => Self::PingReq(target.into(), *probe_number),
            Message::IndirectPing {
                origin,
                probe_number,
            } => Self::IndirectPing(origin.into(), *probe_number),
            Message::IndirectAck {
                target,
                probe_number,
            } => Self::IndirectAck(target.into(), *probe_number),
            Message::ForwardedAck {
                origin,
                probe_number,
            } => Self::ForwardedAck(origin.into(), *probe_number),
            Message::Announce => Self::Announce,
            Message::Feed => Self::Feed,
            Message::Gossip => Self::Gossip,
            Message::Broadcast => Self::Broadcast,
            Message::TurnUndead => Self::TurnUndead,
        }
    }
}

impl From<MessageOnWire> for Message<Peer> {
    fn from(message: MessageOnWire) -> Self {
        match message {
            MessageOnWire::Ping(number) => Self::Ping(number),
            MessageOnWire::Ack(number) => Self::Ack(number),
            MessageOnWire::PingReq(target, probe_number) => Self::PingReq {
                target: target.into(),
                probe_number,
            },
            MessageOnWire::IndirectPing(origin, probe_number) => Self::IndirectPing {
                origin: origin.into(),
                probe_number,
            },
            MessageOnWire::IndirectAck(target, probe_number) => Self::IndirectAck {
                target: target.into(),
                probe_number,
            },
            MessageOnWire::ForwardedAck(origin, probe_number) => Self::ForwardedAck {
                origin: origin.into(),
                probe_number,
            },
            MessageOnWire::Announce => Self::Announce,
            MessageOnWire::Feed => Self::Feed,
            MessageOnWire::Gossip => Self::Gossip,
            MessageOnWire::Broadcast => Self::Broadcast,
            MessageOnWire::TurnUndead => Self::TurnUndead,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum StateOnWire {
    Alive,
    Suspect,
    Down,
}

impl From<State> for StateOnWire {
    fn from(state: State) -> Self {
        match state {
            State::Alive => Self::Alive,
            State::Suspect => Self::Suspect,
            State::Down => Self::Down,
        }
    }
}

impl From<StateOnWire> for State {
    fn from(state: StateOnWire) -> Self {
        match state {
            StateOnWire::Alive => Self::Alive,
            StateOnWire::Suspect => Self::Suspect,
            StateOnWire::Down => Self::Down,
        }
    }
}

fn put(message: &impl Serialize, mut buffer: impl BufMut) -> Result<(), CodecError> {
    let bytes = wire::encode(message)?;
    if bytes.len() > buffer.remaining_mut() {
        return Err(CodecError::Full);
    }
    buffer.put_slice(&bytes);
    Ok(())
}

fn take<T: for<'a> Deserialize<'a>>(mut buffer: impl Buf) -> Result<T, CodecError> {
    let (value, used) = wire::decode_first(buffer.chunk())?;
    buffer.advance(used);
    Ok(value)
}

impl foca::Codec<Peer> for Codec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Peer>, buf: impl BufMut) -> Result<(), CodecError> {
        let from = PeerOnWire::from(&header.src);
        let to = PeerOnWire::from(&header.dst);
        let message = MessageOnWire::from(&header.message);
        put(&(from, header.src_incarnation, to, message), buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Peer>, CodecError> {
        let (from, src_incarnation, to, message) =
            take::<(PeerOnWire, u16, PeerOnWire, MessageOnWire)>(buf)?;
        Ok(Header {
            src: from.into(),
            src_incarnation,
            dst: to.into(),
            message: message.into(),
        })
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<Peer>,
        buf: impl BufMut,
    ) -> Result<(), CodecError> {
        let state = StateOnWire::from(member.state());
        put(
            &(PeerOnWire::from(member.id()), member.incarnation(), state),
            buf,
        )
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<foca::Member<Peer>, CodecError> {
        let (peer, incarnation, state) = take::<(PeerOnWire, u16, StateOnWire)>(buf)?;
        Ok(foca::Member::new(peer.into(), incarnation, state.into()))
    }
}

/// How a member is, as foca has it.
pub(super) fn status(member: &foca::Member<Peer>) -> MemberStatus {
    match (member.id().left, member.state()) {
        (true, _) => MemberStatus::Left,
        (false, State::Alive | State::Suspect) => MemberStatus::Alive,
        (false, State::Down) => MemberStatus::Failed,
    }
}

#[cfg(test)]
mod tests {
    use foca::Identity;

    use super::*;
    use crate::gossip::tests::member;

    fn peer(id: u8, generation: u64, left: bool) -> Peer {
        let mut member = member(id);
        member.generation = generation;
        Peer::new(Arc::new(member), left)
    }

    #[test]
    fn a_restart_replaces_its_former_self_wherever_it_runs_now() {
        let old = peer(1, 5, false);
        let mut member = Member::clone(&old.member);
        member.generation = 6;
        member.address = "192.0.2.99".parse().expect("an address");
        let new = Peer::new(Arc::new(member), false);
        assert_eq!(new.addr(), old.addr());
        assert!(new.win_addr_conflict(&old) && !old.win_addr_conflict(&new));
        assert_ne!(new, old);
        assert_ne!(peer(2, 5, false).addr(), old.addr());
    }

    #[test]
    fn one_that_left_stays_gone_until_it_starts_anew() {
        let alive = peer(1, 5, false);
        let gone = alive.gone();
        assert!(gone.win_addr_conflict(&alive) && !alive.win_addr_conflict(&gone));
        assert_eq!(gone.renew(), None);
        let back = alive.renew().expect("it goes on");
        assert!(back.win_addr_conflict(&gone) && back.win_addr_conflict(&alive));
    }
}
