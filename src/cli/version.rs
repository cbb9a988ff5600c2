//! What this is, and what it stands in for.

/// Drover's own version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

// What scripts that know the anchors check for: the versions whose APIs and flags are spoken.
const NOMAD: &str = "0.8.7";
const CONSUL: &str = "1.8.7";
const FABIO: &str = "1.5.15";

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Drover,
    Nomad,
    Consul,
    Fabio,
}

impl Program {
    /// By the name the program was called with; any other name is Drover itself.
    pub(super) fn called(name: &str) -> Self {
        match name {
            "nomad" => Self::Nomad,
            "consul" => Self::Consul,
            "fabio" => Self::Fabio,
            _ => Self::Drover,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Drover => "drover",
            Self::Nomad => "nomad",
            Self::Consul => "consul",
            Self::Fabio => "fabio",
        }
    }

    /// What `version` prints. As one of the anchors, the first words are that anchor's, because
    /// scripts take the version from there.
    pub(super) fn version(self) -> String {
        match self {
            Self::Drover => format!(
                "Drover v{VERSION}\nSpeaks the APIs of Nomad {NOMAD} and Consul {CONSUL}, \
                 and the routes of fabio {FABIO}"
            ),
            Self::Nomad => format!("Nomad v{NOMAD} (Drover v{VERSION})"),
            Self::Consul => format!(
                "Consul v{CONSUL} (Drover v{VERSION})\n\
                 Protocol 2 spoken by default, understands 2 to 3"
            ),
            Self::Fabio => format!("{FABIO} drover{VERSION}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_find_the_anchors_version_where_they_look_for_it() {
        let nomad = Program::called("nomad").version();
        assert_eq!(nomad.split_whitespace().nth(1), Some("v0.8.7"));
        let consul = Program::called("consul").version();
        assert_eq!(
            consul
                .lines()
                .next()
                .and_then(|line| line.split(' ').nth(1)),
            Some("v1.8.7")
        );
        let fabio = Program::called("fabio").version();
        assert_eq!(fabio.split(' ').next(), Some("1.5.15"));
        assert!(
            Program::called("drover-0.1")
                .version()
                .starts_with("Drover v")
        );
    }
}
