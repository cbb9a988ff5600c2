//! What [`super::membership::Membership`] wants done, and where foca leaves what it wants done.

use std::net::SocketAddr;
use std::time::Duration;

use foca::{Notification, Runtime, Timer};

use super::packet::Packet;
use super::peer::Peer;

/// What is to be done.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) sends: Vec<(SocketAddr, Packet)>,
    pub(super) alarms: Vec<(Duration, Alarm)>,
    /// Somebody's status may be another now.
    pub(super) changed: bool,
    /// Tokens of greetings that were answered.
    pub(super) answered: Vec<u64>,
}

/// What is due after a while.
pub(super) enum Alarm {
    Swim(Timer<Peer>),
    TellSuspect {
        suspect: Peer,
        incarnation: u16,
    },
    /// Was a silent neighbour heard of since it was accused?
    StillSilent {
        suspect: Peer,
        incarnation: u16,
    },
}

impl Runtime<Peer> for Effects {
    fn notify(&mut self, notification: Notification<'_, Peer>) {
        self.changed = match notification {
            Notification::Active | Notification::Idle => self.changed,
            Notification::MemberUp(_)
            | Notification::MemberDown(_)
            | Notification::Rename(..)
            | Notification::Defunct
            | Notification::Rejoin(_) => true,
        };
    }

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        let packet = Packet::Swim(data.to_vec());
        self.sends.push((to.member.serf_address(), packet));
    }

    fn submit_after(&mut self, event: Timer<Peer>, after: Duration) {
        if let Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            ..
        } = &event
        {
            let alarm = Alarm::TellSuspect {
                suspect: member_id.clone(),
                incarnation: *incarnation,
            };
            self.alarms.push((Duration::ZERO, alarm));
        }
        self.alarms.push((after, Alarm::Swim(event)));
    }
}
