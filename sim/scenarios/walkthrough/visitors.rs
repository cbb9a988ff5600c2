//! Those who ask for the walk-through's sites all the time, through every edge.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::user::{Answer, User};

const BETWEEN_REQUESTS: Duration = Duration::from_millis(150);

/// What the text exposes, and how it is asked for.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) service: &'static str,
    /// The name it is asked by, and the port.
    name: &'static str,
    port: u16,
    over_tls: bool,
    /// What it says it is.
    says: &'static str,
}

pub(super) const SITES: [Site; 5] = [
    Site {
        service: "httpbackend",
        name: "mysite.com:9999",
        port: 9999,
        over_tls: false,
        says: "httpbackendservice, version: v1.0.0",
    },
    Site {
        service: "httpsbackend",
        name: "mysite-https.com:9999",
        port: 9999,
        over_tls: false,
        says: "httpsbackendservice, version: v1.0.0",
    },
    Site {
        service: "httpsbackend-tcp",
        name: "localhost",
        port: 9997,
        over_tls: true,
        says: "httpsbackendservice, version: v1.0.0",
    },
    Site {
        service: "httpsbackend-sni-1",
        name: "mysite-sni-1.com",
        port: 9996,
        over_tls: true,
        says: "httpsbackendservice, version: v1.0.0",
    },
    Site {
        service: "httpsbackend-sni-2",
        name: "mysite-sni-2.com",
        port: 9996,
        over_tls: true,
        says: "httpsbackendservice, version: v1.0.1",
    },
];

impl Site {
    pub(super) fn body(&self) -> String {
        format!("this is {}\n", self.says)
    }

    /// One request through the edge of `host`.
    pub(super) async fn ask(&self, user: &User, host: &str) -> Result<Answer> {
        let address = format!("{host}:{}", self.port);
        if self.over_tls {
            user.https(&address, self.name).await
        } else {
            user.http(&address, "GET", "/", self.name, None).await
        }
    }
}

/// One for each site and edge.
pub(super) struct Visitors {
    over: Rc<Cell<bool>>,
    visiting: Vec<JoinHandle<Result<u64>>>,
}

impl Visitors {
    /// Every request has to be answered well.
    pub(super) fn start(user: &User, hosts: &[String]) -> Self {
        let over = Rc::<Cell<bool>>::default();
        let mut visiting = Vec::new();
        for host in hosts {
            for site in SITES {
                let visit = visit(user.clone(), host.clone(), site, over.clone());
                visiting.push(tokio::task::spawn_local(visit));
            }
        }
        Self { over, visiting }
    }

    /// Fails if a request did.
    pub(super) async fn finish(self) -> Result<()> {
        self.over.set(true);
        for visiting in self.visiting {
            let answers = visiting.await.context("a visitor panicked")??;
            ensure!(answers > 0, "a visitor asked for nothing");
        }
        Ok(())
    }
}

async fn visit(user: User, host: String, site: Site, over: Rc<Cell<bool>>) -> Result<u64> {
    let mut answers = 0;
    while !over.get() {
        let began = user.now();
        let asked = site.ask(&user, &host).await;
        let told = || format!("at {began:?} a request for {} through {host}", site.name);
        let answer = asked.with_context(told)?;
        ensure!(
            answer.status == 200 && answer.body == site.body(),
            "{}: {answer:?}",
            told()
        );
        answers += 1;
        tokio::time::sleep(BETWEEN_REQUESTS).await;
    }
    Ok(answers)
}
