//! `service` and `check`.

use std::collections::BTreeMap;

use logic::model::{CheckRestart, Service, ServiceCheck};
use logic::validate::Path;

use crate::decode::{Decoder, Fields};
use crate::names;

pub(crate) fn services(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> Vec<Service> {
    let mut services = Vec::new();
    for section in decoder.sections(owner, "service") {
        let path = owner.path.field("Services").index(services.len());
        decoder.place(&path, section.at);
        decoder.no_labels(&section, "service");
        let fields = decoder.fields(&names::SERVICE, &section.body, &path);
        services.push(service(decoder, &fields));
    }
    services
}

fn service(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) -> Service {
    let mut service = Service::default();
    decoder.string(fields, "name", &mut service.name);
    decoder.string(fields, "port", &mut service.port_label);
    decoder.string(fields, "address_mode", &mut service.address_mode);
    decoder.strings(fields, "tags", &mut service.tags);
    decoder.strings(fields, "canary_tags", &mut service.canary_tags);
    service.meta = decoder.text_map(fields, "meta");
    for section in decoder.sections(fields, "check") {
        let path = fields.path.field("Checks").index(service.checks.len());
        decoder.place(&path, section.at);
        decoder.no_labels(&section, "check");
        let fields = decoder.fields(&names::CHECK, &section.body, &path);
        service.checks.push(check(decoder, &fields));
    }
    // Holds for all checks that don't say otherwise.
    if let Some(restart) = check_restart(decoder, fields) {
        for check in &mut service.checks {
            check.check_restart.get_or_insert_with(|| restart.clone());
        }
    }
    service
}

fn check(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) -> ServiceCheck {
    let mut check = ServiceCheck::default();
    decoder.string(fields, "name", &mut check.name);
    decoder.string(fields, "type", &mut check.r#type);
    decoder.string(fields, "command", &mut check.command);
    decoder.strings(fields, "args", &mut check.args);
    decoder.string(fields, "path", &mut check.path);
    decoder.string(fields, "protocol", &mut check.protocol);
    decoder.string(fields, "port", &mut check.port_label);
    decoder.string(fields, "address_mode", &mut check.address_mode);
    decoder.duration(fields, "interval", &mut check.interval);
    decoder.duration(fields, "timeout", &mut check.timeout);
    decoder.string(fields, "initial_status", &mut check.initial_status);
    decoder.flag(fields, "tls_skip_verify", &mut check.tls_skip_verify);
    decoder.string(fields, "method", &mut check.method);
    decoder.string(fields, "body", &mut check.body);
    decoder.string(fields, "grpc_service", &mut check.grpc_service);
    decoder.flag(fields, "grpc_use_tls", &mut check.grpc_use_tls);
    decoder.number(
        fields,
        "success_before_passing",
        &mut check.success_before_passing,
    );
    decoder.number(
        fields,
        "failures_before_critical",
        &mut check.failures_before_critical,
    );
    check.header = header(decoder, fields);
    check.check_restart = check_restart(decoder, fields);
    check
}

/// `header { Authorization = ["Basic ..."] }`; a lone string is a list of one.
fn header(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> BTreeMap<String, Vec<String>> {
    let mut header = BTreeMap::new();
    for section in decoder.sections(owner, "header") {
        decoder.no_labels(&section, "header");
        for block in &section.body.blocks {
            let message = format!("`{}` must be a list of strings", block.name.text);
            decoder.findings.error(block.name.at, message);
        }
        for attribute in &section.body.attributes {
            let name = &attribute.name.text;
            let path: Path = owner.path.field("Header").key(name);
            let values = match attribute.value.to_text() {
                Some(value) => vec![value],
                None => decoder.texts(&attribute.value, &path),
            };
            header.insert(name.clone(), values);
        }
    }
    header
}

fn check_restart(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> Option<CheckRestart> {
    let section = decoder.section(owner, "check_restart")?;
    let path = owner.path.field("CheckRestart");
    let fields = decoder.fields(&names::CHECK_RESTART, &section.body, &path);
    let mut restart = CheckRestart::default();
    decoder.number(&fields, "limit", &mut restart.limit);
    restart.grace = decoder.period(&fields, "grace");
    decoder.flag(&fields, "ignore_warnings", &mut restart.ignore_warnings);
    Some(restart)
}
