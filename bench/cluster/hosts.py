#!/usr/bin/env python3
"""Hosts to measure a cluster on: network namespaces on a bridge, an agent in each.

As a command: `hosts.py up` starts a cluster and waits until Ctrl-C, `hosts.py down` removes all
that any run, crashed ones too, left behind. Needs root, iproute2 and util-linux (nsenter, unshare).

The bridge is in a namespace of its own, and whoever imports this measures from in there: `enter()`
goes there, so that nothing of it touches the machine's own network.
"""

import argparse
import fcntl
import http.client
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import jobs

PREFIX = "drover-bench-"
SWITCH = PREFIX + "switch"
BRIDGE = "br0"
INSIDE = "DROVER_BENCH_INSIDE"
LOCK = "/run/lock/drover-bench.lock"

NOMAD, CATALOG, DNS, EDGE, ROUTES = 4646, 8500, 8600, 9999, 9998
CONSUL_RPC = 8300


class Unmet(Exception):
    """Something that should have come about hasn't."""


def run(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode != 0:
        raise Unmet(f"`{' '.join(command)}` failed: {done.stdout.strip()}")
    return done.stdout


def down():
    """Ends all that runs in our namespaces, and removes them."""
    for name in namespaces():
        for _ in range(50):
            pids = processes_in(name) - {os.getpid(), os.getppid()}
            for pid in pids:
                kill(pid)
            if not pids:
                break
            time.sleep(0.02)
        run("ip", "netns", "delete", name, check=False)


def processes_in(namespace):
    """The processes of a namespace and all they started: containers have namespaces of their own."""
    found = {int(pid) for pid in run("ip", "netns", "pids", namespace, check=False).split()}
    children = {}
    for name in os.listdir("/proc") if found else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    rest = list(found)
    while rest:
        for child in children.get(rest.pop(), ()):
            if child not in found:
                found.add(child)
                rest.append(child)
    return found


def namespaces():
    listed = run("ip", "netns", "list", check=False).splitlines()
    return [line.split()[0] for line in listed if line.startswith(PREFIX)]


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def enter():
    """Goes on in the bridge's namespace: this program is started again there."""
    if os.environ.get(INSIDE):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return
    if os.geteuid() != 0:
        sys.exit("network namespaces need root")
    lock = os.open(LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another measurement is under way: there is one set of hosts")
    os.set_inheritable(lock, True)
    down()
    run("ip", "netns", "add", SWITCH)
    run("ip", "-n", SWITCH, "link", "set", "lo", "up")
    run("ip", "-n", SWITCH, "link", "add", BRIDGE, "type", "bridge")
    run("ip", "-n", SWITCH, "link", "set", BRIDGE, "up")
    environment = dict(os.environ, **{INSIDE: str(lock), "PYTHONUNBUFFERED": "1"})
    # nsenter, as `ip netns exec` would hide from others the namespaces made inside.
    command = ["nsenter", f"--net=/run/netns/{SWITCH}", sys.executable, *sys.argv]
    # The one outside cleans up, whatever becomes of the one inside.
    inside = subprocess.Popen(command, env=environment, pass_fds=[lock])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: kill(inside.pid, number))
    code = inside.wait()
    down()
    sys.exit(code if code >= 0 else 128 - code)


class Answer:
    def __init__(self, status, body, headers):
        self.status, self.body, self.headers = status, body, headers

    def json(self):
        return json.loads(self.body)


def request(address, method, path, body=None, port=NOMAD, timeout=5.0, headers=None):
    """One request on a connection of its own. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.read(), response.headers)
    finally:
        connection.close()


def a_records(server, name, timeout=1.0):
    """The addresses DNS has for a name: a UDP question, its A answers."""
    number = random.randrange(1 << 16)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.strip(".").split("."))
    question = labels + b"\0" + struct.pack(">HH", 1, 1)
    packet = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + question
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout)
        udp.connect((server, DNS))
        udp.send(packet)
        answer = udp.recv(4096)
    got, flags, _, count, _, _ = struct.unpack(">HHHHHH", answer[:12])
    if got != number:
        raise OSError("an answer to another question")
    if flags & 0xF not in (0, 3):
        raise OSError(f"DNS answers with code {flags & 0xF}")
    at, found = 12 + len(question), []
    for _ in range(count):
        while answer[at] and answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if answer[at] >= 0xC0 else 1
        kind, _, _, length = struct.unpack(">HHIH", answer[at : at + 10])
        if kind == 1:
            found.append(socket.inet_ntoa(answer[at + 10 : at + 14]))
        at += 10 + length
    return sorted(found)


class Host:
    """A namespace, its cable, and the agent in it."""

    def __init__(self, cluster, index, name, address):
        self.cluster, self.name, self.address = cluster, name, address
        self.namespace = f"{PREFIX}{index}"
        self.cable = f"cable{index}"
        self.dir = os.path.join(cluster.dir, name)
        self.log = os.path.join(self.dir, "agent.log")
        self.config = os.path.join(self.dir, "agent.hcl")
        self.agent = None
        self.engine = None
        self.holder = None

    def __repr__(self):
        return self.name

    def make(self):
        """The namespaces: of the network, and, held by a process, of mounts and of the name."""
        os.makedirs(os.path.join(self.dir, "root"))
        space = self.namespace
        run("ip", "netns", "add", space)
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", self.cable, "master", BRIDGE, "up")
        run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", space, "link", "set", "eth0", "up")
        run("ip", "-n", space, "address", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", space, "route", "add", "default", "via", self.cluster.gateway)
        held = f"hostname {self.name} && "
        if self.cluster.own_root:
            # HOME differs by host although the file system is one.
            held += f"mount --bind {self.dir}/root /root && "
        held += "echo held && exec sleep infinity"
        # Not `ip netns exec`, which mounts a /sys without the cgroups that engines need.
        command = ["nsenter", f"--net=/run/netns/{space}", "unshare", "--mount", "--uts"]
        command += ["sh", "-c", held]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        if self.holder.stdout.readline() != b"held\n":
            raise Unmet(f"{self}: no namespaces")
        if self.cluster.docker:
            self.start_engine()

    @property
    def socket(self):
        return os.path.join(self.dir, "docker.sock")

    def start_engine(self):
        state = os.path.join(self.dir, "docker")
        with open(os.path.join(self.dir, "dockerd.log"), "a") as log:
            command = ["dockerd", f"--host=unix://{self.socket}", f"--data-root={state}/data"]
            command += [f"--exec-root={state}/exec", f"--pidfile={state}/pid"]
            os.makedirs(state, exist_ok=True)
            self.engine = self.spawn(command, log)
        docker = ["docker", f"--host=unix://{self.socket}"]
        answers = lambda: subprocess.run(docker + ["info"], capture_output=True).returncode == 0
        if not eventually(answers, 60):
            raise Unmet(f"{self}: dockerd doesn't start, see {self.dir}/dockerd.log")
        if not subprocess.run(docker + ["images", "-q", jobs.IMAGE], capture_output=True).stdout:
            run(*docker, "load", "--quiet", "--input", self.cluster.image)

    def inside(self, command):
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--uts", *command]

    def spawn(self, command, log, environment=None):
        """Starts a program in this host; its process is the program itself."""
        environment = dict(os.environ, **(environment or {}))
        environment.pop(INSIDE, None)
        return subprocess.Popen(
            self.inside(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment, start_new_session=True,
        )

    def start(self):
        """Starts the agent and doesn't wait for it."""
        with open(self.log, "a") as log:
            command = [self.cluster.binary, "agent", f"-config={self.config}"]
            self.agent = self.spawn(command, log)

    def stop(self, timeout=40):
        """Has the agent leave as on SIGINT."""
        if self.agent and self.agent.poll() is None:
            self.agent.send_signal(signal.SIGINT)
            self.agent.wait(timeout)

    def kill9(self):
        """Kills the agent, and nothing else that runs here."""
        self.agent.kill()
        self.agent.wait()

    def pids(self):
        """All processes of this host but what holds its namespaces."""
        return sorted(processes_in(self.namespace) - {self.holder.pid})

    def processes(self, word):
        """The processes whose command line has this word: pid to command line."""
        found = {}
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    line = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
                with open(f"/proc/{pid}/stat") as file:
                    ended = file.read().rsplit(")", 1)[1].split()[0] in "ZX"
            except (FileNotFoundError, ProcessLookupError):
                continue
            if word in line and not ended:
                found[pid] = line
        return found

    def kill_all(self):
        """Kills all that runs here, until nothing does."""
        for _ in range(100):
            pids = self.pids()
            for pid in pids:
                kill(pid)
            for child in (self.agent, self.engine):
                if child:
                    child.poll()
            if not pids:
                return
            time.sleep(0.01)
        raise Unmet(f"{self}: processes that can't be killed: {pids}")

    def cut(self):
        """Pulls the cable."""
        run("ip", "link", "set", self.cable, "down")

    def heal(self):
        run("ip", "link", "set", self.cable, "up")

    def power_cut(self):
        """Silence first, so that nobody hears the processes die; then they do."""
        self.cut()
        self.kill_all()

    def power_on(self):
        self.heal()
        if self.cluster.docker:
            self.start_engine()
        self.start()

    def command(self, *command, environment=None, timeout=60):
        """Runs a command in this host: its exit code and all it printed."""
        done = subprocess.run(
            self.inside(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout,
            env=dict(os.environ, **(environment or {})),
        )
        return done.returncode, done.stdout

    def cli(self, *arguments, timeout=60):
        code, printed = self.command(self.cluster.binary, *arguments, timeout=timeout)
        if code != 0:
            raise Unmet(f"{self}: `drover {' '.join(arguments)}` exits with {code}: {printed}")
        return printed

    def http(self, method, path, body=None, port=NOMAD, timeout=5.0, headers=None):
        return request(self.address, method, path, body, port, timeout, headers)

    def get(self, path, port=NOMAD, timeout=5.0):
        answer = self.http("GET", path, port=port, timeout=timeout)
        if answer.status != 200:
            raise Unmet(f"{self}: GET {path}: {answer.status} {answer.body[:200]!r}")
        return answer.json()

    def dns(self, name, timeout=1.0):
        return a_records(self.address, name, timeout)

    def leader(self, timeout=1.0):
        """The address of who leads as this host sees it, or nothing."""
        try:
            servers = self.get("/v1/operator/raft/configuration", timeout=timeout)["Servers"]
        except (OSError, http.client.HTTPException, Unmet, ValueError):
            return ""
        leading = [server["Address"] for server in servers if server["Leader"]]
        return leading[0].rsplit(":", 1)[0] if leading else ""


CONFIG = """name      = "{name}"
data_dir  = "{data}"
bind_addr = "0.0.0.0"

advertise {{
  rpc = "{address}"
}}

server {{
  enabled          = true
  bootstrap_expect = {servers}

  server_join {{
    retry_join = [{others}]
  }}
}}

client {{
  enabled = {client}
}}

plugin "raw_exec" {{
  config {{
    enabled = true
  }}
}}

plugin "docker" {{
  config {{
    endpoint = "unix://{socket}"
  }}
}}
"""


def eventually(holds, timeout, pause=0.05):
    """Whether it comes true in time; not being able to look is not true yet."""
    until = time.monotonic() + timeout
    while True:
        try:
            if held := holds():
                return held
        except (OSError, http.client.HTTPException, Unmet, ValueError, KeyError):
            pass
        if time.monotonic() > until:
            return False
        time.sleep(pause)


class Cluster:
    """Hosts, started together. As a context: all is gone at its end, the logs unless it failed."""

    def __init__(self, binary, servers=3, docker=False, names=None, addresses=None,
                 own_root=False, client=True):
        if not os.environ.get(INSIDE):
            raise Unmet("call enter() first")
        self.dir = tempfile.mkdtemp(prefix="drover-bench-")
        # The agents' binary stays the same although another may be built meanwhile.
        self.binary = os.path.join(self.dir, "drover")
        shutil.copy(binary, self.binary)
        self.docker, self.own_root, self.client = docker, own_root, client
        addresses = addresses or [f"10.77.0.{11 + i}" for i in range(servers)]
        names = names or [f"node-{i + 1}" for i in range(servers)]
        self.gateway = addresses[0].rsplit(".", 1)[0] + ".1"
        self.hosts = [
            Host(self, i + 1, name, address)
            for i, (name, address) in enumerate(zip(names, addresses))
        ]
        self.image = os.path.join(self.dir, "image.tar")
        self.kept = False

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, error, trace):
        for host in self.hosts:
            if host.holder:
                host.kill_all()
                host.holder.kill()
                host.holder.wait()
                run("ip", "netns", "delete", host.namespace, check=False)
                run("ip", "link", "delete", host.cable, check=False)
        run("ip", "address", "flush", "dev", BRIDGE, check=False)
        well = kind is None or kind is SystemExit and error.code == 0
        if well and not self.kept:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print(f"the agents' logs: {self.dir}/*/agent.log", file=sys.stderr)
        return False

    def keep(self):
        """Has the logs outlive the cluster."""
        self.kept = True

    def make(self):
        run("ip", "address", "replace", f"{self.gateway}/24", "dev", BRIDGE)
        if self.docker:
            # The usual engine has it: examples/images/build.sh.
            run("docker", "save", "--output", self.image, jobs.IMAGE)
        for host in self.hosts:
            host.make()
            with open(host.config, "w") as file:
                others = [f'"{other.address}"' for other in self.hosts if other is not host]
                file.write(CONFIG.format(
                    name=host.name, data=os.path.join(host.dir, "data"), address=host.address,
                    servers=len(self.hosts), others=", ".join(others), socket=host.socket,
                    client=str(self.client).lower(),
                ))

    def start(self, timeout=60):
        """Starts all agents; the seconds until they are a cluster."""
        began = time.monotonic()
        for host in self.hosts:
            host.start()
        self.whole(timeout)
        return time.monotonic() - began

    def whole(self, timeout=60):
        """Waits until every server votes, all name one leader, and every node is ready."""
        if not eventually(lambda: not self.lacking(), timeout):
            raise Unmet(f"after {timeout} s still: {self.lacking()}")

    def lacking(self):
        """What this cluster lacks to be whole, in words."""
        leaders, count = {host.leader() for host in self.hosts}, len(self.hosts)
        if len(leaders) != 1 or "" in leaders:
            return f"the hosts name as leader: {sorted(leaders)}"
        for host in self.hosts:
            try:
                servers = host.get("/v1/operator/raft/configuration")["Servers"]
                nodes = host.get("/v1/nodes")
            except (OSError, http.client.HTTPException, Unmet, ValueError) as error:
                return f"{host}: {error}"
            voters = [server for server in servers if server["Voter"]]
            if len(voters) != count:
                return f"{host} knows {len(voters)} voters"
            ready = [node for node in nodes if node["Status"] == "ready"]
            if self.client and (len(ready) != count or len(nodes) != count):
                told = {node["Name"]: node["Status"] for node in nodes}
                return f"{host} knows the nodes {told}"
        return ""

    def leader(self, timeout=15):
        """The host that leads."""
        by_address = {host.address: host for host in self.hosts}
        found = eventually(
            lambda: next((by_address[h.leader()] for h in self.hosts if h.leader()), None), timeout
        )
        if not found:
            raise Unmet("nobody leads")
        return found

    def others(self, *hosts):
        return [host for host in self.hosts if host not in hosts]

    def alive(self):
        return [host for host in self.hosts if host.agent and host.agent.poll() is None]


def binary_argument(parser):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    usual = os.environ.get("DROVER", os.path.join(root, "target/release/drover"))
    parser.add_argument("--binary", default=usual, help="what to measure (default: %(default)s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--docker", action="store_true", help="a Docker Engine in each host")
    binary_argument(parser)
    arguments = parser.parse_args()
    if arguments.what == "down":
        return down()
    enter()
    with Cluster(arguments.binary, arguments.servers, docker=arguments.docker) as cluster:
        print(f"whole after {cluster.start():.2f} s; the leader is {cluster.leader()}")
        for host in cluster.hosts:
            print(f"  {host}  {host.address}  ip netns exec {host.namespace} ...  {host.log}")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
