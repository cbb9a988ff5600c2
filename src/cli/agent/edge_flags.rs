//! fabio's flags, for the edge of an agent.

use anyhow::{anyhow, bail};
use logic::config::{AccessFormat, CertSource, EdgeConfig, EdgeListener};

use crate::cli::terminal;

#[derive(clap::Args, Debug, Default)]
pub(super) struct EdgeArgs {
    /// Where the edge listens and for what, as in `:9999;proto=http,:9997;proto=tcp`
    #[arg(id = "proxy.addr", long = "proxy.addr", value_name = "LIST")]
    listeners: Option<String>,
    /// Certificates of listeners, as in `cs=web;type=file;cert=/web.pem;key=/web-key.pem`
    #[arg(id = "proxy.cs", long = "proxy.cs", value_name = "LIST")]
    sources: Option<String>,
    /// Log requests: `stdout`, or nothing for not at all
    #[arg(
        id = "log.access.target",
        long = "log.access.target",
        value_name = "TARGET"
    )]
    access_target: Option<String>,
    /// How requests are logged: `common` or `combined`
    #[arg(
        id = "log.access.format",
        long = "log.access.format",
        value_name = "FORMAT"
    )]
    access_format: Option<String>,
}

impl EdgeArgs {
    pub(super) fn override_in(&self, config: &mut EdgeConfig) -> anyhow::Result<()> {
        config.enabled |= self.listeners.is_some();
        if let Some(list) = &self.sources {
            let read = CertSource::parse_list(list);
            config.sources = read.map_err(|why| anyhow!("-proxy.cs: {why}"))?;
        }
        if let Some(list) = &self.listeners {
            let mut warnings = Vec::new();
            let read = EdgeListener::parse_list_with(list, &config.sources, &mut warnings);
            config.listeners = read.map_err(|why| anyhow!("-proxy.addr: {why}"))?;
            for warning in warnings {
                terminal::complain(&format!("warning: -proxy.addr: {warning}"));
            }
        }
        let format = self.access_format.as_deref().map(AccessFormat::parse);
        let format = format.transpose();
        let format = format.map_err(|why| anyhow!("-log.access.format: {why}"))?;
        match self.access_target.as_deref() {
            None => config.access_log = config.access_log.and(format.or(config.access_log)),
            Some("") => config.access_log = None,
            Some("stdout") => {
                let kept = format.or(config.access_log);
                config.access_log = Some(kept.unwrap_or(AccessFormat::Common));
            }
            Some(other) => bail!("-log.access.target: \"{other}\" is unknown; write stdout"),
        }
        Ok(())
    }
}

#[cfg(test)]
impl EdgeArgs {
    pub(super) fn listening(list: Option<&str>) -> Self {
        Self {
            listeners: list.map(str::to_owned),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fabios_flags_say_where_the_edge_listens_and_what_it_logs() {
        let config = |edge: EdgeArgs| {
            let mut config = EdgeConfig::default();
            edge.override_in(&mut config).map(|()| config)
        };
        let text = |text: &str| Some(text.to_owned());
        let set = config(EdgeArgs {
            listeners: text(":9999;proto=http,:9997;proto=tcp"),
            access_target: text("stdout"),
            access_format: text("combined"),
            ..EdgeArgs::default()
        });
        let set = set.expect("a configuration");
        assert_eq!(set.listeners.len(), 2);
        assert_eq!(set.access_log, Some(AccessFormat::Combined));
        let unlogged = config(EdgeArgs {
            access_format: text("common"),
            ..EdgeArgs::default()
        });
        assert_eq!(unlogged.expect("a configuration"), EdgeConfig::default());
        let refused = config(EdgeArgs {
            listeners: text(":x"),
            ..EdgeArgs::default()
        });
        let why = "-proxy.addr: listener 1 of \":x\", \":x\": \"x\" is not a port";
        assert_eq!(refused.expect_err("a bad port").to_string(), why);
        let refused = config(EdgeArgs {
            access_target: text("file"),
            ..EdgeArgs::default()
        });
        let why = "-log.access.target: \"file\" is unknown; write stdout";
        assert_eq!(refused.expect_err("a bad target").to_string(), why);
    }
}
