#!/usr/bin/env python3
"""What becomes of a real cluster of three when something breaks, beside the anchors' figures.

Each row is played several times. Exit code 1: a bound isn't met. The anchors' figures are of Nomad
0.8.7, Consul 1.8.7 and fabio 1.5.15, measured in the same kind of namespaces.
"""

import argparse
import http.client
import re
import sys
import time

import jobs
import watching
from figures import Measured
from hosts import (CATALOG, EDGE, NOMAD, Cluster, Unmet, binary_argument, enter, eventually, kill,
                   request)
from watching import Traffic, Watch, Writer, address

SITE = "mysite.com:9999/"
SERVICE = "httpbackend"

# What the rows do with a cluster.


def register(host, job, timeout=20):
    answer = host.http("PUT", "/v1/jobs", {"Job": job}, timeout=timeout)
    if answer.status != 200:
        raise Unmet(f"{host}: registering {job['ID']}: {answer.status} {answer.body[:200]!r}")


def purge(cluster, name):
    def purged():
        host = cluster.alive()[0]
        path = f"/v1/job/{name}?purge=true"
        return host.http("DELETE", path, timeout=20).status in (200, 404)

    eventually(purged, 30)


def settled(cluster, name=SERVICE, count=2, timeout=60):
    """Waits until the whole cluster agrees that the job's instances pass, and routes to them."""
    cluster.whole(timeout)
    looks = [look for host in cluster.hosts
             for look in (watching.passing(host, name), watching.routes(host, SITE))]

    def agreed():
        seen = [look() for look in looks]
        return len(seen[0]) == count and all(one == seen[0] for one in seen)

    if not eventually(agreed, timeout):
        raise Unmet(f"{name} hasn't settled after {timeout} s: {[look() for look in looks]}")
    return looks[0]()


def deploy(cluster):
    """The walk-through's web service, once; where its instances are."""
    register(cluster.hosts[0], jobs.web(cluster, SERVICE, SITE))
    return settled(cluster)


def with_instance(cluster, run, instances):
    """A host with an instance: in odd runs the leader, if it has one."""
    holding = [host for host in cluster.hosts if host.address in map(address, instances)]
    leader = cluster.leader()
    if run % 2 and leader in holding:
        return leader
    rest = [host for host in holding if host is not leader]
    return rest[run % len(rest)] if rest else holding[0]


def others_down(watches, since, *expected):
    """How many nodes beside the expected were ever seen not ready."""
    accused = set()
    for watch in watches:
        for seen in watch.values(since):
            accused |= {name for name, status in seen.items() if status != "ready"}
    return len(accused - {host.name for host in expected})


def end(*watches):
    for watch in watches:
        watch.over.set()
    for watch in watches:
        watch.end()


def worst(times):
    """The last of several; None if one never came."""
    times = list(times)
    return None if any(at is None for at in times) else max(times)


def leader_killed(cluster, run, measured):
    leader = cluster.leader()
    others = cluster.others(leader)
    elected = [Watch(lambda host=host: host.get("/v1/status/leader", timeout=1), 0.005)
               for host in others]
    nodes = [Watch(watching.nodes(host), 0.05) for host in others]
    writers = [Writer([host], writes(f"{host}-{run}", kv))
               for host in others for kv in (False, True)]
    time.sleep(1)
    leader.kill9()
    began = time.monotonic()
    is_new = lambda said: said and address(said) != leader.address
    measured.add("leader.elected", worst(watch.first(is_new, began, 20) for watch in elected))
    down = lambda seen: seen.get(leader.name) == "down"
    measured.add("leader.own_node", worst(watch.first(down, began, 20) for watch in nodes))
    end(*writers, *elected, *nodes)
    failed = [why for writer in writers for _, why in writer.failed]
    for why in sorted(set(failed))[:3]:
        measured.note(f"a write failed: {why}")
    measured.add("leader.failed", len(failed))
    measured.add("leader.waited", max(wait for writer in writers for _, wait in writer.waits))
    measured.add("leader.others", others_down(nodes, began, leader))
    leader.start()
    cluster.whole()


def writes(name, kv):
    def write(host, number, timeout):
        if kv:
            path = f"/v1/kv/{name}/{number % 50}"
            return host.http("PUT", path, str(number), CATALOG, timeout)
        job = jobs.empty(f"write-{name}-{number % 20}", number)
        return host.http("PUT", "/v1/jobs", {"Job": job}, NOMAD, timeout)

    return write


def power(cluster, run, measured):
    lost_node(cluster, run, measured, "power", lambda host: host.power_cut())


def cable(cluster, run, measured):
    lost_node(cluster, run, measured, "cable", lambda host: host.cut())


def lost_node(cluster, run, measured, row, lose):
    instances = deploy(cluster)
    victim = with_instance(cluster, run, instances)
    others = cluster.others(victim)
    names = [Watch(watching.names(host, SERVICE)) for host in others]
    routes = [Watch(watching.routes(host, SITE)) for host in others]
    nodes = [Watch(watching.nodes(host), 0.05) for host in others]
    passing = [Watch(watching.passing(host, SERVICE)) for host in others]
    traffic = Traffic(others, SITE)
    time.sleep(1)
    led = victim is cluster.leader()
    began = time.monotonic()
    lose(victim)
    gone = lambda seen: victim.address not in map(address, seen)
    measured.add(f"{row}.dns", worst(
        watch.first(lambda seen: victim.address not in seen, began, 30) for watch in names))
    measured.add(f"{row}.routes", worst(watch.first(gone, began, 30) for watch in routes))
    replaced = worst(watch.first(lambda seen: gone(seen) and len(seen) >= 2, began, 60)
                     for watch in passing)
    measured.add(f"{row}.replaced", replaced)
    time.sleep(1)
    end(*names, *routes, *passing)
    traffic.end()
    end(*nodes)
    measured.add(f"{row}.others", others_down(nodes, began, victim))
    if others_down(nodes, began, victim):
        measured.note(f"another node than {victim} was down: {nodes[0].changes}")
    measured.add(f"{row}.failed", len(traffic.failed_since(began - 5)))
    late = traffic.failed_since(began + 3)
    measured.add(f"{row}.failed_later", len(late))
    if traffic.failed:
        at, until, why = traffic.failed[-1]
        measured.note(f"the last of {len(traffic.failed)} failed requests, {'leader' if led else 'follower'}"
                      f" lost: sent at {at - began:.2f} s, over at {until - began:.2f} s, {why}")
    if row == "power":
        victim.power_on()
        settled(cluster)
    else:
        victim.heal()
        cluster.whole()
        running = lambda: sum(len(task_processes(host)) for host in cluster.hosts)
        eventually(lambda: running() == 2, 10)
        measured.add("cable.surplus", running() - 2)
        settled(cluster)


def task_processes(host):
    """The web service's processes, without the agent's supervisors."""
    found = host.processes("/backend " if host.cluster.docker else "example-backend")
    return {pid: line for pid, line in found.items() if " executor " not in line}


def dead(cluster, run, measured):
    instances = deploy(cluster)
    victim = with_instance(cluster, run, instances)
    others = cluster.others(victim)
    names = [Watch(watching.names(host, SERVICE)) for host in others]
    routes = [Watch(watching.routes(host, SITE)) for host in others]
    passing = [Watch(watching.passing(host, SERVICE)) for host in others]
    time.sleep(0.5)
    victim.agent.kill()
    victim.kill_all()
    began = time.monotonic()
    gone = lambda seen: victim.address not in map(address, seen)
    measured.add("dead.dns", worst(
        watch.first(lambda seen: victim.address not in seen, began, 80) for watch in names))
    measured.add("dead.routes", worst(watch.first(gone, began, 80) for watch in routes))
    measured.add("dead.replaced", worst(
        watch.first(lambda seen: gone(seen) and len(seen) >= 2, began, 80) for watch in passing))
    end(*names, *routes, *passing)
    if cluster.docker:
        victim.start_engine()
    victim.start()
    settled(cluster)


def adopt(cluster, run, measured):
    """The agent is killed and restarted; its tasks mustn't notice."""
    deploy(cluster)
    name = f"counter-{run}"
    register(cluster.hosts[0], jobs.counter(name, 3))
    counting = lambda: all(counters(host) for host in cluster.hosts)
    if not eventually(counting, 30):
        raise Unmet("the counters don't run on every host")
    victim = cluster.hosts[run % 3]
    others = cluster.others(victim)
    before = tasks_of(victim)
    all_before = len(lasting(victim))
    traffic = Traffic(others, SITE)
    time.sleep(1)
    victim.kill9()
    # Sooner than the others take the host for dead: later, its tasks are replaced, see `late`.
    time.sleep(0.2 + run * 0.3 % 1.2)
    began = time.monotonic()
    victim.start()
    ready = lambda: victim.agent.poll() is None and watching.nodes(victim)()[victim.name] == "ready"
    eventually(ready, 30, 0.01)
    measured.add("adopt.back", time.monotonic() - began)
    cluster.whole()
    time.sleep(6)
    after = tasks_of(victim)
    lost = set(before) - set(after)
    measured.add("adopt.lost", len(lost))
    for pid in lost:
        measured.note(f"{victim}: lost {pid}: {before[pid][:120]}")
    measured.add("adopt.leaked", max(0, len(lasting(victim)) - all_before))
    traffic.end()
    measured.add("adopt.failed", len(traffic.failed))
    if traffic.failed:
        at, until, why = traffic.failed[0]
        measured.note(f"first of {len(traffic.failed)} failed requests: sent "
                      f"{at - began:.2f} s after the restart: {why}")
    measured.add("adopt.lines", lines_lost(victim, name, measured))
    purge(cluster, name)
    if not eventually(lambda: not any(counters(host) for host in cluster.hosts), 30):
        measured.note("counters still run although their job is stopped")
        measured.samples["adopt.leaked"][-1] += sum(len(counters(h)) for h in cluster.hosts)


def lasting(host):
    """All that runs there for longer than a moment: what a shell is about to replace by a program
    of another name looks like the shell."""
    first = set(host.processes("")) - set(host.processes("sleep 0.02"))
    time.sleep(0.1)
    return first & set(host.processes(""))


def counters(host):
    return {pid: line for pid, line in host.processes("echo line").items()
            if " executor " not in line}


def tasks_of(host):
    return task_processes(host) | counters(host)


def lines_lost(victim, name, measured):
    """How many of the counter's lines before the newest its log lacks."""
    node = next(node["ID"] for node in victim.get("/v1/nodes") if node["Name"] == victim.name)
    allocs = victim.get(f"/v1/job/{name}/allocations")
    mine = [alloc for alloc in allocs if alloc["NodeID"] == node]
    if len(mine) != 1:
        states = [alloc["ClientStatus"] for alloc in mine]
        measured.note(f"{victim} has {len(mine)} allocations of the counter: {states}")
        return None
    printed = victim.cli("alloc", "logs", mine[0]["ID"])
    numbers = [int(n) for n in re.findall(r"^line (\d+)$", printed, re.M)]
    if not numbers:
        return None
    lost = max(numbers) - len(set(numbers))
    if lost or len(numbers) != len(set(numbers)):
        measured.note(f"{victim}: {len(numbers)} lines, {len(set(numbers))} different, up to {max(numbers)}")
    return lost


def late(cluster, run, measured):
    """The agent returns when its task has been replaced elsewhere: it must end it."""
    instances = deploy(cluster)
    victim = with_instance(cluster, run, instances)
    other = cluster.others(victim)[0]
    victim.kill9()
    replaced = lambda: len(watching.passing(other, SERVICE)()) >= 2 and victim.address not in map(
        address, watching.passing(other, SERVICE)())
    if not eventually(replaced, 60):
        raise Unmet(f"{victim}'s instance isn't replaced")
    victim.start()
    settled(cluster)
    ended = lambda: sum(len(task_processes(host)) for host in cluster.hosts) == 2
    eventually(ended, 15)
    measured.add("late.leaked", sum(len(task_processes(host)) for host in cluster.hosts) - 2)


def task(cluster, run, measured):
    instances = deploy(cluster)
    victim = with_instance(cluster, run + 1, instances)
    mine = next(one for one in instances if address(one) == victim.address)
    routes = [Watch(watching.routes(host, SITE), 0.01) for host in cluster.hosts]
    traffic = Traffic(cluster.hosts, SITE)
    starts = Watch(lambda: bool(task_processes(victim)), 0.05)
    time.sleep(1)
    for pid in list(task_processes(victim))[:1]:
        kill(pid)
    began = time.monotonic()
    withdrawn = worst(w.first(lambda seen: mine not in seen, began, 10) for w in routes)
    # Only what comes after the withdrawal is its return.
    after = began + (withdrawn or 0)
    back = worst(w.first(lambda seen: mine in seen, after, 60) for w in routes)
    back = None if back is None or withdrawn is None else back + withdrawn
    started = starts.first(lambda is_running: is_running, began + 1, 30)
    time.sleep(1)
    traffic.end()
    end(*routes, starts)
    measured.add("task.early", int(started is not None and started + 1 < 15))
    measured.add("task.routed", back)
    measured.add("task.beyond", None if back is None else back - 15)
    bad = [why for _, _, why in traffic.failed]
    measured.add("task.502", sum(why.startswith("502") for why in bad))
    measured.add("task.failed", sum(not why.startswith("502") for why in bad))
    for at, _, why in traffic.failed[:3]:
        measured.note(f"a request failed {at - began:.3f} s after the kill: {why}")
    settled(cluster)


def route(cluster, run, measured):
    name = f"fresh-{run}"
    site = f"{name}.example/"
    job = jobs.web(cluster, name, site)
    first = [Watch(lambda host=host: request(
        host.address, "GET", "/", None, EDGE, 2, {"Host": site.rstrip("/")}).status, 0.01)
        for host in cluster.hosts]
    time.sleep(0.3)
    began = time.monotonic()
    register(cluster.hosts[run % 3], job)
    times = [watch.first(lambda status: status == 200, began, 30) for watch in first]
    end(*first)
    reached = [at for at in times if at is not None]
    measured.add("route.first", min(reached) if reached else None)
    measured.add("route.all", worst(times))
    purge(cluster, name)


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024


def own_pages(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(n) for n in re.findall(r"Private_\w+:\s+(\d+)", file.read())) / 1024


def memory(cluster, run, measured):
    purge(cluster, SERVICE)
    # The walk-through's five services.
    names = ["httpbackend", "httpsbackend", "httpsbackend-tcp", "sni-1", "sni-2"]
    none = lambda: not any(task_processes(host) for host in cluster.hosts)
    eventually(none, 30)
    time.sleep(5)
    measured.add("memory.idle", max(resident(host.agent.pid) for host in cluster.hosts))
    for name in names:
        site = SITE if name == SERVICE else f"{name}.example/"
        register(cluster.hosts[run % 3], jobs.web(cluster, name, site))
    for name in names:
        look = watching.passing(cluster.hosts[0], name)
        if not eventually(lambda: len(look()) == 2, 60):
            raise Unmet(f"{name} doesn't pass")
    for _ in range(500):
        request(cluster.hosts[_ % 3].address, "GET", "/", None, EDGE, 5, {"Host": "mysite.com:9999"})
    time.sleep(5)
    measured.add("memory.loaded", max(resident(host.agent.pid) for host in cluster.hosts))
    if not cluster.docker:
        supervisors = [pid for host in cluster.hosts for pid in host.processes(" executor ")]
        if supervisors:
            measured.add("memory.supervisor", max(map(own_pages, supervisors)))
    for name in names[1:]:
        purge(cluster, name)
    settled(cluster)


ROWS = {
    "route": route,
    "leader": leader_killed,
    "power": power,
    "cable": cable,
    "dead": dead,
    "adopt": adopt,
    "late": late,
    "task": task,
    "memory": memory,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--docker", action="store_true", help="containers instead of processes")
    binary_argument(parser)
    arguments = parser.parse_args()
    enter()
    measured, broken = Measured(), []
    for row in arguments.rows:
        # A cluster for each row, so that none suffers from what another did.
        with Cluster(arguments.binary, docker=arguments.docker) as cluster:
            try:
                cluster.start()
                for run in range(arguments.runs):
                    began = time.monotonic()
                    ROWS[row](cluster, run, measured)
                    print(f"  {row} {run + 1}: {time.monotonic() - began:.0f} s", flush=True)
            except (OSError, http.client.HTTPException, Unmet, StopIteration) as error:
                broken.append(f"{row}: {type(error).__name__}: {error}")
                print(f"  {row} couldn't be measured: {error}", flush=True)
            if broken and broken[-1].startswith(row) or any(
                    metric.startswith(f"{row}.") for metric in measured.unmet()):
                cluster.keep()
    print()
    print(measured.table())
    for why in broken:
        print(f"not measured: {why}")
    sys.exit(1 if broken or measured.unmet() else 0)


if __name__ == "__main__":
    main()
