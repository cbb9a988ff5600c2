//! The catalog's rows as the Consul API shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use logic::model::{CatalogNode, Check, ServiceInstance, Weights};
use serde_json::{Map, Value, json};

pub(super) fn node(node: &CatalogNode) -> Value {
    json!({
        "ID": node.id,
        "Node": node.node,
        "Address": node.address,
        "Datacenter": node.datacenter,
        "TaggedAddresses": node_addresses(node),
        "Meta": node_meta(node),
        "CreateIndex": node.create_index,
        "ModifyIndex": node.modify_index,
    })
}

/// Consul's own nodes always have this entry, and clients read it.
fn node_meta(node: &CatalogNode) -> BTreeMap<String, String> {
    let mut meta = node.meta.clone();
    meta.entry("consul-network-segment".to_owned()).or_default();
    meta
}

fn family(address: &str) -> Option<&'static str> {
    match address.parse() {
        Ok(IpAddr::V4(_)) => Some("ipv4"),
        Ok(IpAddr::V6(_)) => Some("ipv6"),
        Err(_) => None,
    }
}

fn node_addresses(node: &CatalogNode) -> Value {
    let address = &node.address;
    let mut tagged = Map::new();
    for network in ["lan", "wan"] {
        tagged.insert(network.to_owned(), json!(address));
        if let Some(family) = family(address) {
            tagged.insert(format!("{network}_{family}"), json!(address));
        }
    }
    for (tag, address) in &node.tagged_addresses {
        tagged.insert(tag.clone(), json!(address));
    }
    Value::Object(tagged)
}

/// Only for services with an address of their own.
fn service_addresses(service: &ServiceInstance) -> Value {
    if !service.tagged_addresses.is_empty() {
        let tagged = service.tagged_addresses.iter();
        let tagged = tagged.map(|(tag, at)| {
            let at = json!({ "Address": at.address, "Port": at.port });
            (tag.clone(), at)
        });
        return Value::Object(tagged.collect());
    }
    let Some(family) = family(&service.address) else {
        return json!({});
    };
    let at = json!({ "Address": service.address, "Port": service.port });
    json!({ format!("lan_{family}"): at, format!("wan_{family}"): at })
}

fn weights(service: &ServiceInstance) -> Value {
    let Weights { passing, warning } = service.weights;
    json!({ "Passing": passing, "Warning": warning })
}

fn no_proxy() -> Value {
    json!({ "MeshGateway": {}, "Expose": {} })
}

/// A service as part of a node or of a health answer.
pub(super) fn service(service: &ServiceInstance) -> Value {
    let mut shown = json!({
        "ID": service.id,
        "Service": service.service,
        "Tags": service.tags,
        "Address": service.address,
        "TaggedAddresses": service_addresses(service),
        "Meta": service.meta,
        "Port": service.port,
        "Weights": weights(service),
        "EnableTagOverride": service.enable_tag_override,
        "Proxy": no_proxy(),
        "Connect": {},
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    });
    leave_out_if_empty(&mut shown, "TaggedAddresses");
    shown
}

fn leave_out_if_empty(shown: &mut Value, field: &str) {
    if shown[field].as_object().is_some_and(Map::is_empty)
        && let Some(fields) = shown.as_object_mut()
    {
        fields.remove(field);
    }
}

/// A service as its own agent tells it.
pub(super) fn agent_service(service: &ServiceInstance, datacenter: &str) -> Value {
    let mut shown = json!({
        "ID": service.id,
        "Service": service.service,
        "Tags": service.tags,
        "Meta": service.meta,
        "Port": service.port,
        "Address": service.address,
        "TaggedAddresses": service_addresses(service),
        "Weights": weights(service),
        "EnableTagOverride": service.enable_tag_override,
        "Datacenter": datacenter,
    });
    leave_out_if_empty(&mut shown, "TaggedAddresses");
    shown
}

/// A service and its node in one flat object.
pub(super) fn catalog_service(node: &CatalogNode, service: &ServiceInstance) -> Value {
    json!({
        "ID": node.id,
        "Node": node.node,
        "Address": node.address,
        "Datacenter": node.datacenter,
        "TaggedAddresses": node_addresses(node),
        "NodeMeta": node_meta(node),
        "ServiceKind": "",
        "ServiceID": service.id,
        "ServiceName": service.service,
        "ServiceTags": service.tags,
        "ServiceAddress": service.address,
        "ServiceTaggedAddresses": service_addresses(service),
        "ServiceWeights": weights(service),
        "ServiceMeta": service.meta,
        "ServicePort": service.port,
        "ServiceEnableTagOverride": service.enable_tag_override,
        "ServiceProxy": no_proxy(),
        "ServiceConnect": {},
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    })
}

pub(super) fn check(check: &Check) -> Value {
    json!({
        "Node": check.node,
        "CheckID": check.check_id,
        "Name": check.name,
        "Status": check.status,
        "Notes": check.notes,
        "Output": check.output,
        "ServiceID": check.service_id,
        "ServiceName": check.service_name,
        "ServiceTags": check.service_tags,
        "Type": check.r#type,
        "Definition": {},
        "CreateIndex": check.create_index,
        "ModifyIndex": check.modify_index,
    })
}
