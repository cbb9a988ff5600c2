//! How a routing table is made of a catalog: which instances count, and how requests are matched.

use super::Instance;
use crate::model::CHECK_CRITICAL;
use crate::model::SERF_HEALTH;
use crate::registry::{NODE_MAINTENANCE, SERVICE_MAINTENANCE};

/// What marks a tag as a route where nothing else is said.
pub const TAG_PREFIX: &str = "urlprefix-";

/// Which instances get a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Those whose every check passes, and that have one of their own.
    #[default]
    Whole,
    /// As fabio has it: those of whose own checks one, or all, has one of these statuses, and
    /// whose node isn't lost or in maintenance.
    Checks { statuses: Vec<String>, all: bool },
}

impl Health {
    pub(super) fn routes(&self, instance: &Instance) -> bool {
        let Self::Checks { statuses, all } = self else {
            return instance.passing() && instance.checked();
        };
        let away = instance.checks.iter().any(|check| {
            let critical = check.status == CHECK_CRITICAL;
            check.check_id == NODE_MAINTENANCE
                || (critical && check.check_id == SERF_HEALTH)
                || (critical && check.check_id.starts_with(SERVICE_MAINTENANCE))
        });
        let own = instance.checks.iter().filter(|check| {
            !check.service_id.is_empty() && !check.check_id.starts_with(SERVICE_MAINTENANCE)
        });
        let fine: Vec<bool> = own.map(|check| statuses.contains(&check.status)).collect();
        let enough = if *all {
            !fine.is_empty() && fine.iter().all(|fine| *fine)
        } else {
            fine.contains(&true)
        };
        enough && !away
    }
}

/// How paths are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matcher {
    #[default]
    Prefix,
    /// Letters count as the same in either case.
    PrefixInAnyCase,
    Glob,
}

impl Matcher {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "prefix" => Some(Self::Prefix),
            "iprefix" => Some(Self::PrefixInAnyCase),
            "glob" => Some(Self::Glob),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::PrefixInAnyCase => "iprefix",
            Self::Glob => "glob",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What marks a tag as a route.
    pub tag_prefix: String,
    pub health: Health,
    pub matcher: Matcher,
    /// Whether hosts may be patterns.
    pub host_patterns: bool,
}

impl Rules {
    pub fn new(tag_prefix: &str) -> Self {
        Self {
            tag_prefix: tag_prefix.to_owned(),
            health: Health::default(),
            matcher: Matcher::default(),
            host_patterns: true,
        }
    }
}

/// What an operator adds to the catalog's routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Route commands, a line each.
    pub commands: String,
    /// What is answered where there is no route.
    pub no_route_page: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Check;

    #[test]
    fn fabio_counts_an_instances_own_checks() {
        let one = Health::Checks {
            statuses: vec!["passing".into()],
            all: false,
        };
        let lenient = Health::Checks {
            statuses: vec!["passing".into(), "warning".into()],
            all: true,
        };
        let own = |status: &str| ("own", "web-1", status.to_owned());
        let node = |id: &'static str, status: &str| (id, "", status.to_owned());
        for (checks, by_one, by_all) in [
            (vec![own("passing"), own("critical")], true, false),
            (vec![own("passing"), own("warning")], true, true),
            (vec![own("critical")], false, false),
            (vec![], false, false),
            (
                vec![own("passing"), node("serfHealth", "critical")],
                false,
                false,
            ),
            (
                vec![own("passing"), node("serfHealth", "passing")],
                true,
                true,
            ),
            (vec![own("passing"), node("disk", "critical")], true, true),
            (
                vec![own("passing"), node("_node_maintenance", "critical")],
                false,
                false,
            ),
            (
                vec![
                    own("passing"),
                    ("_service_maintenance:web-1", "web-1", "critical".to_owned()),
                ],
                false,
                false,
            ),
        ] {
            let checks = checks.into_iter().map(|(id, service, status)| Check {
                check_id: id.into(),
                service_id: service.into(),
                status,
                ..Check::default()
            });
            let instance = Instance {
                checks: checks.collect(),
                ..Instance::default()
            };
            assert_eq!(one.routes(&instance), by_one, "{instance:?}");
            assert_eq!(lenient.routes(&instance), by_all, "{instance:?}");
        }
    }
}
