#!/usr/bin/env python3
"""The walk-through's chapter one by its own commands: a Consul and a Nomad cluster on three hosts.

The binary is linked as `consul` and as `nomad`; hosts, names and addresses are the walk-through's.
Prints each command and what it says, and checks columns and rows. Exit code 1: something differs.
"""

import argparse
import os
import re
import sys

from hosts import Cluster, binary_argument, enter, eventually

NAMES = ["dxnode1", "dxnode2", "dxnode3"]
ADDRESSES = ["172.16.66.102", "172.16.66.103", "172.16.66.104"]

CONSUL = ("mkdir -p ~/.bin/consul-install && cd ~/.bin/consul-install && "
          "nohup consul agent -server -ui -dns-port=53 -bootstrap-expect=3 "
          "-data-dir=/root/.bin/consul-install/consul-data -node=consul-{n} -client=0.0.0.0 "
          "-bind={address} -datacenter=dc1{join} > consul-{n}.log 2>&1 &")
NOMAD_AGENT = ("cd ~/.bin/nomad-install && nohup nomad agent "
               "-config=/root/.bin/nomad-install/agent.hcl > nomad-{n}.log 2>&1 &")
AGENT_HCL = """data_dir = "/root/.bin/nomad-install/nomad.d"

server {
  enabled = true
  bootstrap_expect = 3
}

client {
  enabled = true
}
"""

ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
MEMBERS = "Node Address Status Type Build Protocol DC Segment"
PEERS = "Node ID Address State Voter RaftProtocol"
SERVERS = "Name Address Port Status Leader Protocol Build Datacenter Region"
NODES = "ID DC Name Class Drain Eligibility Status"
VERSION = r"\d+\.\d+\.\d+\S*"


class Walk:
    """Commands on the hosts, and what was wrong with what they said."""

    def __init__(self, cluster):
        self.cluster, self.wrong = cluster, []
        bin_dir = os.path.join(cluster.dir, "bin")
        os.mkdir(bin_dir)
        for name in ("consul", "nomad"):
            os.symlink(cluster.binary, os.path.join(bin_dir, name))
        self.environment = {"PATH": f"{bin_dir}:{os.environ['PATH']}", "HOME": "/root"}

    def shell(self, host, command):
        return host.command("sh", "-c", command, environment=self.environment)

    def tell(self, host, command):
        """Runs a command that goes on in the background."""
        print(f"{host}# {command}", flush=True)
        # What it starts must not hold this shell's output open.
        code, said = self.shell(host, f"( {command} ) > /dev/null 2>&1 < /dev/null")
        if code != 0:
            self.wrong.append(f"{host}: `{command}` exits with {code}: {said}")

    def ask(self, host, command, problem, timeout=30):
        """Runs a command until nothing is wrong with its output, and prints that; what it said."""
        last = {}

        def is_right():
            last["code"], last["said"] = self.shell(host, command)
            last["problem"] = problem(last["said"]) if last["code"] == 0 else f"exit code {last['code']}"
            return not last["problem"]

        # What went wrong once needs no patience any more.
        eventually(is_right, 2 if self.wrong else timeout, 0.2)
        print(f"{host}# {command}\n{last['said'].rstrip()}", flush=True)
        if last["problem"]:
            print(f"    WRONG: {last['problem']}")
            self.wrong.append(f"{host}: `{command}`: {last['problem']}")
        print()
        return last["said"]


def table(header, *patterns, count=3):
    """Checks a table: its header, and that each row is like one of the patterns, each used."""

    def problem(said):
        lines = said.strip().splitlines()
        if not lines or lines[0].split() != header.split():
            return f"the header isn't `{header}`"
        # Columns begin where the header's do.
        starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
        rows = [[line[a:b].strip() for a, b in zip(starts, starts[1:] + [None])] for line in lines[1:]]
        if len(rows) != count:
            return f"{len(rows)} rows instead of {count}"
        texts = ["  ".join(row) for row in rows]
        for pattern in patterns:
            if sum(bool(re.fullmatch(pattern, text)) for text in texts) != 1:
                return f"not one row is like `{pattern}`"
        return ""

    return problem


def leading(check, column, value):
    """The same, and exactly one row has the value that marks the leader."""

    def problem(said):
        found = check(said)
        if found:
            return found
        at = said.splitlines()[0].split().index(column)
        leaders = [line for line in said.splitlines()[1:] if re.split(r"\s{2,}", line)[at] == value]
        return "" if len(leaders) == 1 else f"{len(leaders)} rows are the leader's"

    return problem


def has(*patterns):
    def problem(said):
        missing = [pattern for pattern in patterns if not re.search(pattern, said, re.M)]
        return f"no `{missing[0]}`" if missing else ""

    return problem


def consul(walk, hosts):
    walk.ask(hosts[0], "consul -v", has(r"^Consul v1\.\d"))
    for n, host in enumerate(hosts, 1):
        join = "" if n == 1 else f" -join {ADDRESSES[0]}"
        walk.tell(host, CONSUL.format(n=n, address=host.address, join=join))
        # A `-join` that finds nobody ends the agent; people type slower than this.
        eventually(lambda: walk.shell(host, "consul members")[0] == 0, 20)
    print()
    rows = [rf"consul-{n}  {address}:8301  alive  server  {VERSION}  2  dc1  <all>"
            for n, address in enumerate(ADDRESSES, 1)]
    peers = [rf"consul-{n}  {ID}  {address}:8300  (leader|follower)  true  3"
             for n, address in enumerate(ADDRESSES, 1)]
    for host in hosts:
        walk.ask(host, "consul members", table(MEMBERS, *rows))
        walk.ask(host, "consul operator raft list-peers",
                 leading(table(PEERS, *peers), "State", "leader"))


def names(walk, hosts):
    """DNS through each host's resolv.conf, as the walk-through's second step sets it up."""
    resolv = os.path.join(walk.cluster.dir, "resolv.conf")
    with open(resolv, "w") as file:
        file.write(f"nameserver {ADDRESSES[0]}\nnameserver {ADDRESSES[1]}\n")
    for host in hosts:
        host.command("mount", "--bind", resolv, "/etc/resolv.conf")
    one = "|".join(map(re.escape, ADDRESSES))
    name = "consul.service.dc1.consul"
    walk.ask(hosts[2], f"getent ahostsv4 {name}", has(*[rf"^{re.escape(a)}\s" for a in ADDRESSES]))
    if walk.shell(hosts[0], "command -v ping")[0] == 0:
        walk.ask(hosts[0], f"ping -c 3 {name}",
                 has(rf"^PING {re.escape(name)} \(({one})\)", "3 packets transmitted, 3 received"))
    else:
        print("skipped: ping isn't installed\n")


def nomad(walk, hosts):
    walk.ask(hosts[0], "nomad -v", has(r"^Nomad v0\.\d"))
    for n, host in enumerate(hosts, 1):
        folder = os.path.join(host.dir, "root/.bin/nomad-install")
        os.makedirs(folder)
        with open(os.path.join(folder, "agent.hcl"), "w") as file:
            file.write(AGENT_HCL)
        walk.tell(host, NOMAD_AGENT.format(n=n))
    print()
    members = [rf"{name}\.global  {address}  4648  alive  (true|false)  2  {VERSION}  dc1  global"
               for name, address in zip(NAMES, ADDRESSES)]
    peers = [rf"{name}\.global  \S+  {address}:4647  (leader|follower)  true  \d"
             for name, address in zip(NAMES, ADDRESSES)]
    nodes = [rf"[0-9a-f]{{8}}  dc1  {name}  <none>  false  eligible  ready" for name in NAMES]
    for host in hosts:
        walk.ask(host, "nomad server members", leading(table(SERVERS, *members), "Leader", "true"))
        walk.ask(host, "nomad operator raft list-peers",
                 leading(table(PEERS, *peers), "State", "leader"))
        said = walk.ask(host, "nomad node-status", table(NODES, *nodes))
    walk.ask(hosts[0], "nomad node status", table(NODES, *nodes))
    first = said.splitlines()[1].split()[0] if len(said.splitlines()) > 1 else "none"
    walk.ask(hosts[0], f"nomad node status -verbose {first}",
             has(rf"^ID\s+= {first}-", r"^Class\s+= <none>$", r"^Status\s+= ready$", "^Drivers$",
                 r"^Driver\s+Detected\s+Healthy\s+Message\s+Time$", "^Allocated Resources$",
                 "^Host Resource Utilization$", "^Allocations$", "^Attributes$",
                 r"^kernel\.name\s+= linux$", r"^unique\.hostname\s+= dxnode\d$", "^Meta"))
    # Long after the election too every server knows who leads.
    leaders = {host.get("/v1/status/leader") for host in hosts}
    print(f"/v1/status/leader of the three: {leaders}")
    if len(leaders) != 1 or leaders == {""}:
        walk.wrong.append(f"the servers name as leader: {leaders}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    binary_argument(parser)
    arguments = parser.parse_args()
    enter()
    with Cluster(arguments.binary, names=NAMES, addresses=ADDRESSES, own_root=True) as cluster:
        walk = Walk(cluster)
        consul(walk, cluster.hosts)
        names(walk, cluster.hosts)
        nomad(walk, cluster.hosts)
        print()
        for what in walk.wrong:
            print(f"wrong: {what}")
        if walk.wrong:
            print(f"logs: {cluster.dir}/*/root/.bin/*/*.log")
            sys.exit(1)
        print("chapter one: all as in the walk-through")


if __name__ == "__main__":
    main()
