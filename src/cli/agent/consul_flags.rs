//! Flags about the Consul beside an agent, with Nomad's names.

use anyhow::anyhow;
use logic::config::{AgentConfig, ConsulConfig};

#[derive(clap::Args, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "they are the flags' names")]
pub(super) struct ConsulArgs {
    /// The HTTP address of a Consul to register in and to find servers through
    #[arg(long, value_name = "ADDR")]
    pub(super) consul_address: Option<String>,
    /// The token for it
    #[arg(long, value_name = "TOKEN")]
    pub(super) consul_token: Option<String>,
    /// USER[:PASSWORD] for a proxy in front of it
    #[arg(long, value_name = "AUTH")]
    pub(super) consul_auth: Option<String>,
    /// Register the agent itself there
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub(super) consul_auto_advertise: Option<bool>,
    /// Have the agent checked at its advertised address
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub(super) consul_checks_use_advertise: Option<bool>,
    /// Find servers through it as a server
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub(super) consul_server_auto_join: Option<bool>,
    /// Find servers through it as a client
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub(super) consul_client_auto_join: Option<bool>,
    #[arg(long, hide = true, value_name = "NAME")]
    pub(super) consul_server_service_name: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    pub(super) consul_client_service_name: Option<String>,
}

impl ConsulArgs {
    /// Any of them tells of a Consul.
    pub(super) fn override_in(&self, config: &mut AgentConfig) -> anyhow::Result<()> {
        let mut consul = config.consul.clone().unwrap_or_default();
        if let Some(address) = &self.consul_address {
            consul.address = jobspec::consul_address(address)
                .map_err(|(wrong, hint)| anyhow!("-consul-address {address} {wrong}: {hint}"))?;
        }
        let mut said = self.consul_address.is_some();
        for (flag, setting) in [
            (&self.consul_token, &mut consul.token),
            (&self.consul_auth, &mut consul.auth),
            (
                &self.consul_server_service_name,
                &mut consul.server_service_name,
            ),
            (
                &self.consul_client_service_name,
                &mut consul.client_service_name,
            ),
        ] {
            if let Some(value) = flag {
                said = true;
                setting.clone_from(value);
            }
        }
        for (flag, setting) in self.switches(&mut consul) {
            if let Some(value) = flag {
                said = true;
                *setting = value;
            }
        }
        if said {
            config.consul = Some(consul);
            config.settle_catalog();
        }
        Ok(())
    }

    fn switches<'c>(&self, consul: &'c mut ConsulConfig) -> [(Option<bool>, &'c mut bool); 4] {
        [
            (self.consul_auto_advertise, &mut consul.auto_advertise),
            (
                self.consul_checks_use_advertise,
                &mut consul.checks_use_advertise,
            ),
            (self.consul_server_auto_join, &mut consul.server_auto_join),
            (self.consul_client_auto_join, &mut consul.client_auto_join),
        ]
    }
}
