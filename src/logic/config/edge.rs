//! The fabio-compatible part: the edge proxy.

use std::net::IpAddr;
use std::time::Duration;

use super::{CertSource, EdgeListener};
use crate::routes::{Matcher, Rules, TAG_PREFIX};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    pub enabled: bool,
    pub listeners: Vec<EdgeListener>,
    /// Where listeners have their certificates from.
    pub sources: Vec<CertSource>,
    /// Where `/api/routes` and `/health` are served.
    pub ui_port: u16,
    /// What marks a tag as a route.
    pub tag_prefix: String,
    /// What a request without a route is answered with.
    pub no_route_status: u16,
    /// Unset: requests aren't logged.
    pub access_log: Option<AccessFormat>,
    pub proxy: ProxyOptions,
    pub ui: UiOptions,
}

/// Who gets the next request of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    #[default]
    Random,
    RoundRobin,
}

/// How requests are passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyOptions {
    pub strategy: Strategy,
    pub matcher: Matcher,
    pub host_patterns: bool,
    /// For `Forwarded: by=`; unset: the machine's own.
    pub local_ip: Option<IpAddr>,
    /// A header that tells the upstream the client's address; empty: none.
    pub client_ip_header: String,
    /// A header that tells the upstream whether the client came over TLS, and its value.
    pub tls_header: String,
    pub tls_header_value: String,
    /// A header that gets a new id for each request; empty: none.
    pub request_id_header: String,
    /// The `Strict-Transport-Security` of what is answered over TLS; empty: none.
    pub strict_transport: String,
    /// How long it may take to connect to an upstream.
    pub connect_within: Duration,
    /// How long an upstream may take to begin its answer.
    pub answer_within: Duration,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            matcher: Matcher::default(),
            host_patterns: true,
            local_ip: None,
            client_ip_header: String::new(),
            tls_header: String::new(),
            tls_header_value: String::new(),
            request_id_header: String::new(),
            strict_transport: String::new(),
            // Long enough for a lost first packet to be sent again.
            connect_within: Duration::from_secs(2),
            // Long polls must fit in.
            answer_within: Duration::from_secs(15 * 60),
        }
    }
}

/// The page of the edge's routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UiOptions {
    /// Unset: where the agent's other listeners are.
    pub address: Option<IpAddr>,
    pub title: String,
    /// Overrides can be looked at and changed there.
    pub writable: bool,
}

/// How a request is written to the access log: the formats of Apache and nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    Common,
    /// With the referrer and the user agent.
    Combined,
}

impl AccessFormat {
    /// An error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "common" => Ok(Self::Common),
            "combined" => Ok(Self::Combined),
            _ if text.contains('$') => Err(format!(
                "the access log's format \"{text}\" isn't supported yet; write common or combined"
            )),
            _ => Err(format!(
                "the access log's format \"{text}\" is unknown; write common or combined"
            )),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Common => "common",
            Self::Combined => "combined",
        }
    }
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listeners: vec![EdgeListener::http(9999)],
            sources: Vec::new(),
            ui_port: 9998,
            tag_prefix: TAG_PREFIX.to_owned(),
            no_route_status: 404,
            access_log: None,
            proxy: ProxyOptions::default(),
            ui: UiOptions::default(),
        }
    }
}

impl EdgeConfig {
    /// How the routing table is made.
    pub fn rules(&self) -> Rules {
        Rules {
            matcher: self.proxy.matcher,
            host_patterns: self.proxy.host_patterns,
            ..Rules::new(&self.tag_prefix)
        }
    }
}
