//! The Consul beside an agent: what its `consul` block says.

/// A Consul that others run: this agent's services and checks are kept registered there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulConfig {
    /// `HOST:PORT` of its HTTP API.
    pub address: String,
    /// Sent with every request, if there is one.
    pub token: String,
    /// `USER` or `USER:PASSWORD` for a proxy in front of it; empty: none.
    pub auth: String,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the agent itself is registered, as `nomad` and `nomad-client`.
    pub auto_advertise: bool,
    /// Whether the Consul checks the agent at its advertised address instead of the bound one.
    pub checks_use_advertise: bool,
    /// Whether servers, and clients, look there for servers.
    pub server_auto_join: bool,
    pub client_auto_join: bool,
    pub server_service_name: String,
    pub client_service_name: String,
    pub server_http_check_name: String,
    pub server_rpc_check_name: String,
    pub server_serf_check_name: String,
    pub client_http_check_name: String,
    /// Tags that the agent's own services get in addition.
    pub tags: Vec<String>,
}

impl ConsulConfig {
    /// Where a Consul is if nobody says where it is.
    pub const USUAL: &'static str = "127.0.0.1:8500";

    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            ..Self::default()
        }
    }

    /// Whether an agent of this kind looks for servers there.
    pub fn auto_join(&self, server: bool) -> bool {
        if server {
            self.server_auto_join
        } else {
            self.client_auto_join
        }
    }
}

impl Default for ConsulConfig {
    fn default() -> Self {
        Self {
            address: Self::USUAL.to_owned(),
            token: String::new(),
            auth: String::new(),
            timeout_ms: 5_000,
            auto_advertise: true,
            checks_use_advertise: false,
            server_auto_join: true,
            client_auto_join: true,
            server_service_name: "nomad".to_owned(),
            client_service_name: "nomad-client".to_owned(),
            server_http_check_name: "Nomad Server HTTP Check".to_owned(),
            server_rpc_check_name: "Nomad Server RPC Check".to_owned(),
            server_serf_check_name: "Nomad Server Serf Check".to_owned(),
            client_http_check_name: "Nomad Client HTTP Check".to_owned(),
            tags: Vec::new(),
        }
    }
}
