//! The addresses of the web page: what a path names, and the path of everything that has a page.
//! The addresses of the anchors' own pages lead to ours, so that bookmarks keep working.

use logic::percent;

/// What has a page of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Jobs,
    Job(String),
    JobAllocations(String),
    JobVersions(String),
    JobEvaluations(String),
    JobDefinition(String),
    JobDeployments(String),
    Allocation(String),
    Logs { alloc: String, task: String },
    Evaluation(String),
    Clients,
    Client(String),
    Servers,
    Services,
    Service(String),
    Routes,
    Keys(String),
    Search,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Here(Place),
    /// The address is another program's, or an older one.
    Moved(Place),
    Nowhere,
}

use Found::{Here, Moved, Nowhere};

impl Place {
    /// What a path below `/ui` names; `datacenter` is this cluster's.
    pub(super) fn of(path: &str, datacenter: &str) -> Found {
        let rest = path.strip_prefix("/ui").unwrap_or_default();
        let Some(parts) = rest
            .split('/')
            .skip(1)
            .map(percent::decoded)
            .collect::<Option<Vec<String>>>()
        else {
            return Nowhere;
        };
        let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if parts.first() == Some(&"kv") {
            return Here(Self::Keys(parts[1..].join("/")));
        }
        while parts.last() == Some(&"") {
            parts.pop();
        }
        match parts.as_slice() {
            [] => Here(Self::Overview),
            ["jobs", rest @ ..] => Self::below_jobs(rest),
            ["allocations", rest @ ..] => Self::below_allocations(rest),
            ["clients" | "nodes", rest @ ..] => Self::below_clients(rest),
            ["servers", rest @ ..] => Self::listed(rest, Self::Servers),
            ["services", rest @ ..] => Self::below_services(rest),
            ["routes"] => Here(Self::Routes),
            ["search"] => Here(Self::Search),
            ["evaluations", id] => Here(Self::Evaluation((*id).to_owned())),
            [
                "evaluations" | "deployments" | "topology" | "optimize" | "variables" | "csi",
                ..,
            ] => Moved(Self::Jobs),
            ["settings", ..] => Moved(Self::Overview),
            [at, rest @ ..] => Self::of_catalog(rest, *at == datacenter, path),
        }
    }

    fn listed(rest: &[&str], list: Self) -> Found {
        if rest.is_empty() {
            Here(list)
        } else {
            Moved(list)
        }
    }

    fn below_jobs(rest: &[&str]) -> Found {
        match rest {
            [] => Here(Self::Jobs),
            [id] => Here(Self::Job((*id).to_owned())),
            [id, part, ..] => {
                let id = (*id).to_owned();
                match *part {
                    "allocations" => Here(Self::JobAllocations(id)),
                    "versions" => Here(Self::JobVersions(id)),
                    "evaluations" => Here(Self::JobEvaluations(id)),
                    "definition" => Here(Self::JobDefinition(id)),
                    "deployments" => Here(Self::JobDeployments(id)),
                    // A group, its clients: all on the job's own page.
                    _ => Moved(Self::Job(id)),
                }
            }
        }
    }

    fn below_allocations(rest: &[&str]) -> Found {
        match rest {
            [] => Moved(Self::Jobs),
            [id] => Here(Self::Allocation((*id).to_owned())),
            [alloc, task, "logs"] => Here(Self::Logs {
                alloc: (*alloc).to_owned(),
                task: (*task).to_owned(),
            }),
            [id, ..] => Moved(Self::Allocation((*id).to_owned())),
        }
    }

    fn below_clients(rest: &[&str]) -> Found {
        match rest {
            [] => Here(Self::Clients),
            [id] => Here(Self::Client((*id).to_owned())),
            [id, ..] => Moved(Self::Client((*id).to_owned())),
        }
    }

    fn below_services(rest: &[&str]) -> Found {
        match rest {
            [] => Here(Self::Services),
            [name] => Here(Self::Service((*name).to_owned())),
            [name, ..] => Moved(Self::Service((*name).to_owned())),
        }
    }

    /// Addresses of the catalog's own page begin with the datacenter.
    fn of_catalog(rest: &[&str], ours: bool, path: &str) -> Found {
        let folder = if path.ends_with('/') { "/" } else { "" };
        match rest {
            [] | ["overview" | "intentions" | "acls", ..] if ours => Moved(Self::Services),
            ["services"] => Moved(Self::Services),
            ["services", name, ..] => Moved(Self::Service((*name).to_owned())),
            ["nodes"] => Moved(Self::Clients),
            ["nodes", name, ..] => Moved(Self::Client((*name).to_owned())),
            ["kv"] => Moved(Self::Keys(String::new())),
            ["kv", key @ .., "edit"] => Moved(Self::Keys(key.join("/"))),
            ["kv", key @ ..] => Moved(Self::Keys(format!("{}{folder}", key.join("/")))),
            _ => Nowhere,
        }
    }

    /// The path that leads here.
    pub(super) fn href(&self) -> String {
        match self {
            Self::Overview => "/ui/".to_owned(),
            Self::Jobs => "/ui/jobs".to_owned(),
            Self::Job(id) => format!("/ui/jobs/{}", percent::segment(id)),
            Self::JobAllocations(id) => format!("/ui/jobs/{}/allocations", percent::segment(id)),
            Self::JobVersions(id) => format!("/ui/jobs/{}/versions", percent::segment(id)),
            Self::JobEvaluations(id) => format!("/ui/jobs/{}/evaluations", percent::segment(id)),
            Self::JobDefinition(id) => format!("/ui/jobs/{}/definition", percent::segment(id)),
            Self::JobDeployments(id) => format!("/ui/jobs/{}/deployments", percent::segment(id)),
            Self::Allocation(id) => format!("/ui/allocations/{}", percent::segment(id)),
            Self::Logs { alloc, task } => {
                format!(
                    "/ui/allocations/{}/{}/logs",
                    percent::segment(alloc),
                    percent::segment(task)
                )
            }
            Self::Evaluation(id) => format!("/ui/evaluations/{}", percent::segment(id)),
            Self::Clients => "/ui/clients".to_owned(),
            Self::Client(id) => format!("/ui/clients/{}", percent::segment(id)),
            Self::Servers => "/ui/servers".to_owned(),
            Self::Services => "/ui/services".to_owned(),
            Self::Service(name) => format!("/ui/services/{}", percent::segment(name)),
            Self::Routes => "/ui/routes".to_owned(),
            Self::Keys(prefix) => {
                format!("/ui/kv/{}", percent::path(prefix))
            }
            Self::Search => "/ui/search".to_owned(),
        }
    }

    /// Whether what is shown there is measured again and again, not only told of.
    pub(super) fn measured(&self) -> bool {
        matches!(self, Self::Allocation(_) | Self::Client(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Found {
        Place::of(path, "dc1")
    }

    #[test]
    fn every_place_is_found_at_its_own_address() {
        let odd = || "a/<b>&\"?#%楼".to_owned();
        for place in [
            Place::Overview,
            Place::Jobs,
            Place::Job(odd()),
            Place::JobAllocations(odd()),
            Place::JobVersions("web".into()),
            Place::JobEvaluations("web".into()),
            Place::JobDefinition("web".into()),
            Place::JobDeployments("web".into()),
            Place::Allocation("1".into()),
            Place::Logs {
                alloc: "1".into(),
                task: odd(),
            },
            Place::Evaluation("1".into()),
            Place::Clients,
            Place::Client(odd()),
            Place::Servers,
            Place::Services,
            Place::Service(odd()),
            Place::Routes,
            Place::Keys(String::new()),
            Place::Keys("a b/c?/".into()),
            Place::Search,
        ] {
            let href = place.href();
            assert!(!href.contains(['<', '"', '?', '#', ' ']), "{href}");
            assert_eq!(at(&href), Here(place), "{href}");
        }
    }

    #[test]
    fn addresses_of_the_anchors_lead_to_ours() {
        let job = || Place::Job("web".into());
        let alloc = || Place::Allocation("1".into());
        for (path, found) in [
            ("/ui", Here(Place::Overview)),
            ("/ui/jobs/web", Here(job())),
            ("/ui/jobs/web/", Here(job())),
            ("/ui/jobs/web/group", Moved(job())),
            ("/ui/allocations/1/web", Moved(alloc())),
            ("/ui/allocations/1/fs/", Moved(alloc())),
            ("/ui/nodes/n1", Here(Place::Client("n1".into()))),
            ("/ui/servers/n1.global", Moved(Place::Servers)),
            ("/ui/topology", Moved(Place::Jobs)),
            ("/ui/settings/tokens", Moved(Place::Overview)),
            ("/ui/dc1", Moved(Place::Services)),
            ("/ui/dc1/", Moved(Place::Services)),
            ("/ui/dc1/services", Moved(Place::Services)),
            ("/ui/dc1/services/web", Moved(Place::Service("web".into()))),
            (
                "/ui/dc1/services/web/instances",
                Moved(Place::Service("web".into())),
            ),
            ("/ui/dc1/nodes/n1", Moved(Place::Client("n1".into()))),
            ("/ui/dc1/kv", Moved(Place::Keys(String::new()))),
            ("/ui/dc1/kv/a/b/", Moved(Place::Keys("a/b/".into()))),
            ("/ui/dc1/kv/a/b/edit", Moved(Place::Keys("a/b".into()))),
            ("/ui/nothing", Nowhere),
            ("/ui/jobs/%ff", Nowhere),
        ] {
            assert_eq!(at(path), found, "{path}");
        }
    }
}
