//! Who has a route already: two jobs that ask for the same one would share its requests.

use super::comparable;
use super::tag::RouteTag;
use crate::catalog::View;
use crate::model::{Job, ServiceInstance};

/// A route that another job has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// As the refused tag writes it.
    pub source: String,
    pub service: String,
    pub job: String,
    pub other_service: String,
}

/// Stands for whatever the datacenter is called.
const DATACENTER: &str = "{datacenter}";

struct Claim {
    source: String,
    host: String,
    path: String,
    service: String,
    /// Whether the tag says which share of the route it wants.
    shares: bool,
}

/// The first route of `job` that another one has, for a service of another name. Services of one
/// name belong together, and a tag with a `weight` means to share.
pub fn claimed<'j>(
    job: &Job,
    others: impl Iterator<Item = &'j Job>,
    tag_prefix: &str,
) -> Option<Claimed> {
    let wanted: Vec<Claim> = claims(job, tag_prefix).filter(|c| !c.shares).collect();
    if wanted.is_empty() {
        return None;
    }
    let others = others.filter(|other| other.id != job.id && !other.stop);
    for other in others {
        for theirs in claims(other, tag_prefix) {
            let same = |ours: &&Claim| {
                (comparable(&ours.host), &ours.path) == (comparable(&theirs.host), &theirs.path)
                    && (ours.service != theirs.service || ours.service.contains("${"))
            };
            if let Some(ours) = wanted.iter().find(same) {
                return Some(Claimed {
                    source: ours.source.clone(),
                    service: ours.service.clone(),
                    job: other.id.clone(),
                    other_service: theirs.service,
                });
            }
        }
    }
    None
}

fn claims<'j>(job: &'j Job, tag_prefix: &'j str) -> impl Iterator<Item = Claim> + 'j {
    let services = job.task_groups.iter().flat_map(|group| {
        let of_tasks = group.tasks.iter().flat_map(|task| &task.services);
        group.services.iter().chain(of_tasks)
    });
    services.flat_map(move |service| of_tags(&service.name, &service.tags, tag_prefix))
}

fn of_tags<'t>(
    service: &'t str,
    tags: &'t [String],
    tag_prefix: &'t str,
) -> impl Iterator<Item = Claim> + 't {
    tags.iter().filter_map(move |tag| {
        let text = tag.strip_prefix(tag_prefix)?;
        let route = RouteTag::parse(text, DATACENTER).ok()?;
        if route.path.contains("${") {
            // Only the node knows what stands there.
            return None;
        }
        Some(Claim {
            source: format!("{}{}", route.host, route.path),
            host: route.host,
            path: route.path,
            service: service.to_owned(),
            shares: route.weight.is_some(),
        })
    })
}

/// The first route of a service that is registered by hand, which a job's service of another name
/// has: its source, and that service.
pub fn claimed_by_a_job(
    service: &ServiceInstance,
    view: &View,
    tag_prefix: &str,
) -> Option<(String, String)> {
    let claims = of_tags(&service.service, &service.tags, tag_prefix);
    let wanted: Vec<Claim> = claims.filter(|claim| !claim.shares).collect();
    if wanted.is_empty() {
        return None;
    }
    let instances = view.services.values().flatten();
    let of_jobs = instances.filter(|other| {
        !other.service.alloc_id.is_empty() && other.service.service != service.service
    });
    for other in of_jobs {
        for theirs in of_tags(&other.service.service, &other.service.tags, tag_prefix) {
            let same = |ours: &&Claim| {
                (comparable(&ours.host), &ours.path) == (comparable(&theirs.host), &theirs.path)
            };
            if let Some(ours) = wanted.iter().find(same) {
                return Some((ours.source.clone(), theirs.service));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Service, Task, TaskGroup};

    fn job(id: &str, service: &str, tag: &str) -> Job {
        let service = Service {
            name: service.into(),
            tags: vec!["other".into(), format!("urlprefix-{tag}")],
            ..Service::default()
        };
        let task = Task {
            services: vec![service],
            ..Task::default()
        };
        Job {
            id: id.into(),
            task_groups: vec![TaskGroup {
                tasks: vec![task],
                ..TaskGroup::default()
            }],
            ..Job::default()
        }
    }

    #[test]
    fn a_route_belongs_to_the_service_that_has_it() {
        let theirs = job("theirs", "web", "mysite.com/ strip=/x");
        let stopped = Job {
            stop: true,
            ..job("stopped", "old", "old.com/")
        };
        for (ours, taken) in [
            (job("ours", "shop", "mysite.com/"), true),
            (job("ours", "shop", "MySite.com:80/ proto=https"), true),
            (job("ours", "shop", "mysite.com/shop"), false),
            (job("ours", "shop", "*.mysite.com/"), false),
            (job("ours", "shop", "/"), false),
            // The same service in another job.
            (job("ours", "web", "mysite.com/"), false),
            // It says how to share.
            (job("ours", "shop", "mysite.com/ weight=0.1"), false),
            // Another version of the same job.
            (job("theirs", "shop", "mysite.com/"), false),
            (job("ours", "new", "old.com/"), false),
            (job("ours", "shop", "no-route"), false),
        ] {
            let others = [&theirs, &stopped].into_iter();
            let claimed = claimed(&ours, others, "urlprefix-");
            assert_eq!(claimed.is_some(), taken, "{claimed:?}");
            if let Some(claimed) = claimed {
                assert_eq!(
                    (claimed.job.as_str(), claimed.service.as_str()),
                    ("theirs", "shop")
                );
            }
        }
    }

    #[test]
    fn services_of_groups_have_routes_too() {
        let of_group = |mut job: Job| {
            let group = &mut job.task_groups[0];
            group.services = std::mem::take(&mut group.tasks[0].services);
            job
        };
        let theirs = job("theirs", "web", "mysite.com/");
        let ours = job("ours", "shop", "mysite.com/");
        for (theirs, ours) in [
            (of_group(theirs.clone()), ours.clone()),
            (theirs, of_group(ours)),
        ] {
            let claimed = claimed(&ours, [&theirs].into_iter(), "urlprefix-");
            assert_eq!(claimed.expect("it is taken").other_service, "web");
        }
    }

    #[test]
    fn a_port_is_a_route_too() {
        let theirs = job("theirs", "tcp", ":9997 proto=tcp");
        let ours = job("ours", "other", ":9997 proto=tcp");
        let claimed = claimed(&ours, [&theirs].into_iter(), "urlprefix-");
        let claimed = claimed.expect("the port is taken");
        assert_eq!(claimed.source, ":9997");
    }

    #[test]
    fn what_is_registered_by_hand_takes_no_route_from_a_job() {
        let instance = |id: &str, service: &str, alloc: &str, tag: &str| ServiceInstance {
            node: "n1".into(),
            id: id.into(),
            service: service.into(),
            alloc_id: alloc.into(),
            tags: vec![format!("urlprefix-{tag}")],
            ..ServiceInstance::default()
        };
        let view = View::new(crate::catalog::Contents {
            nodes: vec![crate::model::CatalogNode {
                node: "n1".into(),
                ..Default::default()
            }],
            services: vec![
                instance("1", "web", "alloc", "mysite.com/"),
                instance("2", "hand", "", "hand.com/"),
            ],
            ..Default::default()
        });
        for (service, tag, taken) in [
            ("shop", "mysite.com/", true),
            ("shop", "MySite.com/ strip=/a", true),
            ("shop", "mysite.com/ weight=0.1", false),
            ("shop", "mysite.com/shop", false),
            ("web", "mysite.com/", false),
            ("shop", "hand.com/", false),
        ] {
            let ours = instance("3", service, "", tag);
            let claimed = claimed_by_a_job(&ours, &view, "urlprefix-");
            let expected = taken.then_some("web");
            let holder = claimed.as_ref().map(|(_, service)| service.as_str());
            assert_eq!(holder, expected, "{service} {tag}");
        }
    }
}
