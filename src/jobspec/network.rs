//! `network` and `port`.

use logic::model::{Network, Port};

use crate::decode::{Decoder, Fields};
use crate::names;

const RANGE: &str = "from 1 to 65535";

pub(crate) fn networks(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> Vec<Network> {
    let mut networks = Vec::new();
    for section in decoder.sections(owner, "network") {
        let path = owner.path.field("Networks").index(networks.len());
        decoder.place(&path, section.at);
        decoder.no_labels(&section, "network");
        let fields = decoder.fields(&names::NETWORK, &section.body, &path);
        let mut network = Network::default();
        decoder.string(&fields, "mode", &mut network.mode);
        decoder.number(&fields, "mbits", &mut network.mbits);
        ports(decoder, &fields, &mut network);
        networks.push(network);
    }
    networks
}

fn ports(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>, network: &mut Network) {
    for section in decoder.sections(owner, "port") {
        let Some(label) = decoder.label(&section, "port") else {
            continue;
        };
        let is_static = section.body.attribute("static").is_some();
        let (list, field) = if is_static {
            (&mut network.reserved_ports, "ReservedPorts")
        } else {
            (&mut network.dynamic_ports, "DynamicPorts")
        };
        let path = owner.path.field(field).index(list.len());
        decoder.place(&path, section.at);
        decoder.place(&path.field("Label"), label.at);
        let fields = decoder.fields(&names::PORT, &section.body, &path);
        let value = decoder.small(&fields, "static", RANGE).unwrap_or(0);
        list.push(Port {
            label: label.text.clone(),
            value,
            to: to(decoder, &fields),
        });
    }
}

/// The port in the container; -1, as the anchors have it: the same as on the host.
fn to(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) -> u16 {
    let same = decoder.get(fields, "to").and_then(|(to, _)| to.to_text());
    if same.is_some_and(|to| to == "-1") {
        return 0;
    }
    decoder.small(fields, "to", RANGE).unwrap_or(0)
}
