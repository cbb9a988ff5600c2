//! The servers: who is there, who votes, who leads; and every other agent that gossip knows.

use logic::membership::{Known, MemberStatus};
use maud::{Markup, html};

use super::elements::{Tone, columns, command, copy, count, link, status};
use super::page::Page;
use super::place::Place;
use super::seen::Seen;
use super::troubles;

pub(super) fn page(seen: &Seen) -> Page {
    Page::new("Servers")
        .with("head", head(seen))
        .with("peers", peers(seen))
        .with("members", members(seen))
        .with("commands", commands())
}

fn head(seen: &Seen) -> Markup {
    let found = troubles::of_servers(seen);
    let voters = seen.peers.iter().filter(|peer| peer.voter).count();
    let spare = voters.saturating_sub(voters / 2 + 1);
    let leader = seen
        .peers
        .iter()
        .find(|peer| Some(&peer.id) == seen.leader.as_ref());
    html! {
        div.title { h1 { "Servers" } span.dim { (count(seen.peers.len(), "server", "servers")) } }
        @if !found.is_empty() {
            section.attention { h2 { "Needs attention" } (troubles::list(&found, true, seen.now)) }
        }
        p {
            @match leader {
                Some(leader) => { strong { (leader.name) } " leads. " }
                None => { "Nobody leads. " }
            }
            @match spare {
                0 => { "If a server is lost, nothing can be changed until it is back." }
                spare => {
                    (count(spare, "server", "servers"))
                    " may be lost without harm, if all are alive."
                }
            }
        }
    }
}

fn peers(seen: &Seen) -> Markup {
    html! {
        section aria-labelledby="peers" {
            h2 #peers { "Raft peers" }
            div.scroll {
                table.rows {
                    (columns(&["Server", "Role", "Alive", "Votes", "Address", "Id"]))
                    tbody {
                        @for peer in &seen.peers {
                            @let leads = Some(&peer.id) == seen.leader.as_ref();
                            @let known = member(seen, &peer.id);
                            tr data-key={ "p-" (peer.id) } {
                                td data-l="Server" { strong { (peer.name) } }
                                td data-l="Role" {
                                    @if leads {
                                        (status(Tone::Ok, "leader"))
                                    } @else {
                                        (status(Tone::Idle, "follower"))
                                    }
                                }
                                td data-l="Alive" { (alive(known)) }
                                td data-l="Votes" { @if peer.voter { "yes" } @else { "not yet" } }
                                td data-l="Address" { code { (peer.address) } }
                                td.wide data-l="Id" {
                                    code { (peer.id) } (copy(&peer.id, "the server's id"))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn member<'a>(seen: &'a Seen, id: &str) -> Option<&'a Known> {
    seen.members.iter().find(|known| known.member.id == id)
}

fn alive(known: Option<&Known>) -> Markup {
    match known.map(|known| known.status) {
        Some(MemberStatus::Alive) => status(Tone::Ok, "alive"),
        Some(MemberStatus::Failed) => status(Tone::Bad, "failed"),
        Some(MemberStatus::Left) => status(Tone::Idle, "left"),
        None => status(Tone::Warn, "not heard of"),
    }
}

fn members(seen: &Seen) -> Markup {
    html! {
        section aria-labelledby="members" {
            h2 #members { "Agents " span.dim { (seen.members.len()) } }
            div.scroll {
                table.rows {
                    (columns(&[
                        "Agent", "Status", "Kind", "Address", "Version", "Datacenter", "Region",
                    ]))
                    tbody {
                        @for known in &seen.members {
                            @let member = &known.member;
                            tr data-key={ "m-" (member.id) } {
                                td data-l="Agent" {
                                    @if seen.store.node(&member.id).is_some() {
                                        strong {
                                            (link(&Place::Client(member.id.clone()), &member.name))
                                        }
                                    } @else { strong { (member.name) } }
                                }
                                td data-l="Status" { (alive(Some(known))) }
                                td data-l="Kind" {
                                    @if member.server { "server" } @else { "client" }
                                }
                                td data-l="Address" { code { (member.serf_address()) } }
                                td data-l="Version" { (member.version) }
                                td data-l="Datacenter" { (member.datacenter) }
                                td data-l="Region" { (member.region) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn commands() -> Markup {
    html! {
        section aria-labelledby="commands" {
            h2 #commands { "At a terminal" }
            ul.commands {
                li { (command("drover server members")) }
                li { (command("drover operator raft list-peers")) }
            }
        }
    }
}
