//! What was recorded of a real Consul: requests, answers, and the catalog that they show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::agent::ConsulAgent;
use crate::program::golden;

/// The recorded node that the asked agent stands for, and its address.
pub(super) const NODE: &str = "consul-1";
const ADDRESS: &str = "172.16.66.102";
/// The second one, whose agent was asked too.
pub(super) const NODE_2: &str = "consul-2";
const ADDRESS_2: &str = "172.16.66.103";

/// A request and its answer.
pub(super) struct Recorded {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: String,
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) answer: String,
}

/// The recordings, with the names of the agent that is asked in place of theirs.
pub(super) struct Recordings {
    folder: PathBuf,
    replaced: Vec<(String, String)>,
}

impl Recordings {
    pub(super) fn find() -> Option<Self> {
        let folder = golden("consul-api")?;
        Some(Self {
            folder,
            replaced: Vec::new(),
        })
    }

    /// From now on an agent has the place of one of theirs.
    pub(super) fn stands_for(&mut self, agent: &ConsulAgent, node: &str) {
        let id = self.node(node)["ID"].clone();
        let own = agent.get("/v1/agent/self").json()["Config"]["NodeID"].clone();
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        let address = if node == NODE { ADDRESS } else { ADDRESS_2 };
        self.replaced = vec![
            (text(&id), text(&own)),
            (
                format!("{address}:8300"),
                format!("127.0.0.1:{}", agent.rpc_port()),
            ),
            (address.to_owned(), "127.0.0.1".to_owned()),
            ("\"8300\"".to_owned(), format!("\"{}\"", agent.rpc_port())),
            (":8301,".to_owned(), format!(":{},", agent.serf_port())),
            (
                "127.0.0.1:8301".to_owned(),
                format!("127.0.0.1:{}", agent.serf_port()),
            ),
            (
                "\"wan_join_port\":\"8302\"".to_owned(),
                format!("\"wan_join_port\":\"{}\"", agent.serf_port()),
            ),
        ];
    }

    fn text(&self, file: &str) -> String {
        let path: &Path = &self.folder.join(file);
        let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{file}: {why}"));
        let all = self.replaced.iter();
        all.fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
    }

    /// The names of all recordings.
    pub(super) fn names(&self) -> Vec<String> {
        let files = fs::read_dir(&self.folder).expect("readable").flatten();
        let names = files.filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            name.strip_suffix(".cmd").map(str::to_owned)
        });
        names.collect()
    }

    /// Of lists of all agents only what is of the one that is asked, which is alone.
    fn own_rows(&self, name: &str) -> String {
        let text = self.text(&format!("{name}.json"));
        let is_own = |row: &Value| {
            let text = row.to_string();
            text.contains(NODE) || text.contains("127.0.0.1")
        };
        let mut value: Value = match name {
            "GET_agent_members"
            | "GET_coordinate_nodes"
            | "GET_status_peers"
            | "GET_operator_raft_configuration" => serde_json::from_str(&text).expect("JSON"),
            _ => return text,
        };
        let rows = match &mut value {
            Value::Object(fields) => fields.get_mut("Servers").expect("servers"),
            list => list,
        };
        rows.as_array_mut().expect("a list").retain(is_own);
        value.to_string()
    }

    pub(super) fn get(&self, name: &str) -> Recorded {
        let command = self.text(&format!("{name}.cmd"));
        let words: Vec<&str> = command.split_whitespace().collect();
        let after = |flag: &str| words.iter().skip_while(|word| **word != flag).nth(1);
        let url = words.last().expect("a URL").trim_matches('\'');
        let (_, path) = url.split_once(":8500").expect("an agent's URL");
        let head = self.text(&format!("{name}.hdr"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(": "));
        let body = if after("--data-binary").is_some() {
            self.text(&format!("{name}.reqbody"))
        } else {
            String::new()
        };
        Recorded {
            method: (*after("-X").expect("a method")).to_owned(),
            path: path.to_owned(),
            body,
            status: status.and_then(|code| code.parse().ok()).expect("a status"),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                .collect(),
            answer: self.own_rows(name),
        }
    }

    pub(super) fn json(&self, name: &str) -> Value {
        let text = self.text(&format!("{name}.json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn node(&self, name: &str) -> Value {
        let nodes = self.json("GET_catalog_nodes");
        let nodes = nodes.as_array().expect("a list").iter();
        let mut found = nodes.filter(|node| node["Node"] == name);
        found.next().expect("a node of theirs").clone()
    }
}

/// Registers at an agent what was registered at one of theirs.
pub(super) fn register_at(agent: &ConsulAgent, services: &Value, checks: &Value) {
    for service in services.as_object().expect("by ids").values() {
        let mut asked = service.clone();
        asked["Name"] = service["Service"].clone();
        agent.put("/v1/agent/service/register", &asked);
    }
    for check in checks.as_object().expect("by ids").values() {
        let id = check["CheckID"].as_str().expect("an id");
        let asked = json!({
            "ID": id, "Name": check["Name"], "ServiceID": check["ServiceID"], "TTL": "1h",
            "Notes": check["Notes"],
        });
        agent.put("/v1/agent/check/register", &asked);
        let said = json!({ "Status": check["Status"], "Output": check["Output"] });
        agent.put(&format!("/v1/agent/check/update/{id}"), &said);
    }
}

/// The port that a check's output says it has found open.
fn port_in(output: &Value, address: &Value) -> u16 {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (output, address) = (text(output), format!("{}:", text(address)));
    let after = output.split_once(&address).map_or("", |(_, after)| after);
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Writes into the catalog what theirs had of the other nodes.
pub(super) fn write_other_nodes(agent: &ConsulAgent, theirs: &Recordings) {
    let nodes = theirs.json("GET_catalog_nodes");
    let checks = theirs.json("GET_health_state_any");
    let of_second = theirs.json("GET_catalog_node_consul-2")["Services"].clone();
    for node in nodes.as_array().expect("a list") {
        if node["Node"] == NODE {
            continue;
        }
        let registered = |rest: Value| {
            let mut asked = json!({
                "Node": node["Node"], "ID": node["ID"], "Address": node["Address"],
                "TaggedAddresses": node["TaggedAddresses"], "NodeMeta": node["Meta"],
            });
            for (field, value) in rest.as_object().expect("fields") {
                asked[field] = value.clone();
            }
            agent.put("/v1/catalog/register", &asked);
        };
        let checks = checks.as_array().expect("a list").iter();
        let checks: Vec<&Value> = checks.filter(|row| row["Node"] == node["Node"]).collect();
        for service in of_second.as_object().expect("by ids").values() {
            if node["Node"] == NODE_2 || service["ID"] == "consul" {
                registered(json!({ "Service": service }));
            }
        }
        for check in &checks {
            // Of the third node's services only this was recorded.
            if node["Node"] != NODE_2 && check["ServiceID"] != "" {
                registered(json!({ "Service": {
                    "ID": check["ServiceID"], "Service": check["ServiceName"],
                    "Tags": check["ServiceTags"], "Address": node["Address"],
                    "Port": port_in(&check["Output"], &node["Address"]),
                } }));
            }
            registered(json!({ "Check": check }));
        }
    }
}
