//! How members leave: this agent by its own wish, failed ones by an operator's.

use std::time::Duration;

use foca::State;
use logic::membership::MemberStatus;

use super::Membership;
use crate::gossip::effects::Effects;
use crate::gossip::packet::{Packet, Rumour, known};
use crate::gossip::peer::{Peer, status};

/// How many are told at once that somebody leaves; they tell the others.
const TOLD_OF_LEAVING: usize = 64;

impl Membership {
    /// Makes a failed member one that has left.
    pub(in crate::gossip) fn force_leave(
        &mut self,
        name: &str,
        now: Duration,
    ) -> Result<Effects, String> {
        let called = |peer: &Peer| {
            let member = &peer.member;
            member.name == name || member.id == name || member.full_name() == name
        };
        let named = self.foca.iter_membership_state();
        let named: Vec<_> = named.filter(|other| called(other.id())).cloned().collect();
        let with = |wanted| named.iter().filter(move |member| status(member) == wanted);
        let failed: Vec<_> = with(MemberStatus::Failed)
            .map(|member| foca::Member::down(member.id().gone()))
            .collect();
        if failed.is_empty() {
            if called(self.me()) || with(MemberStatus::Alive).next().is_some() {
                return Err(format!(
                    "{name} is alive: only a member that has failed can be made to leave"
                ));
            }
            if named.is_empty() {
                return Err(format!("no member is called {name}"));
            }
        }
        let mut out = Effects::default();
        let rumours = failed.iter();
        let rumours = rumours.map(|member| Rumour::new(member.id(), 0, State::Down, 0));
        let packets = known(rumours.collect());
        self.apply(failed, true, &mut out);
        self.tell_many(&packets, &mut out);
        self.settle(now, &mut out);
        Ok(out)
    }

    /// Says goodbye; from here on this agent neither says nor hears anything.
    pub(in crate::gossip) fn leave(&mut self) -> Effects {
        let mut out = Effects::default();
        let gone = Rumour::new(&self.me().gone(), 0, State::Down, 0);
        self.tell_many(&known(vec![gone]), &mut out);
        self.left = true;
        out.changed = true;
        out
    }

    fn tell_many(&self, packets: &[Packet], out: &mut Effects) {
        for member in self.foca.iter_members().take(TOLD_OF_LEAVING) {
            let address = member.id().member.serf_address();
            let sends = packets.iter().map(|packet| (address, packet.clone()));
            out.sends.extend(sends);
        }
    }
}
