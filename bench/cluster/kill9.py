#!/usr/bin/env python3
"""kill -9 of random agents under a load of writes: nothing acknowledged may be lost.

Writers register jobs and put keys at random agents and remember what was acknowledged. At the end
every server is asked, for its own copy, for every one of those. Exit code 1: something is lost, or
the cluster isn't whole.
"""

import argparse
import base64
import http.client
import json
import random
import sys
import threading
import time

import jobs
from hosts import CATALOG, NOMAD, Cluster, Unmet, binary_argument, enter, eventually, request

BROKEN = (OSError, http.client.HTTPException)
# Longer than a write that was broken off may still be on its way.
REST = 15


class Register:
    """One job or key, written by one writer with ever higher numbers."""

    def __init__(self, kind, name):
        self.kind, self.name = kind, name
        self.tried, self.acknowledged = 0, 0
        # The ModifyIndex of a key whose last write was acknowledged and read; 0 before the first.
        self.index = 0
        self.rests_until, self.wrong = 0.0, ""

    def write(self, host, timeout):
        """Writes the next number; what the host said, or what broke."""
        self.tried += 1
        checked, self.index = self.index, None
        if self.kind == "key":
            check = "" if checked is None else f"?cas={checked}"
            path, port, body = f"/v1/kv/{self.name}{check}", CATALOG, str(self.tried)
        else:
            path, port, body = "/v1/jobs", NOMAD, {"Job": jobs.empty(self.name, self.tried)}
        answer = request(host.address, "PUT", path, body, port, timeout)
        if answer.status == 200 and answer.body.strip() != b"false":
            self.acknowledged = self.tried
            if self.kind == "key" and self.tried % 2:
                self.look(host, timeout)
            return ""
        if answer.status == 200:
            # Nobody else writes it.
            self.wrong = f"write {self.tried} at its index {checked} came too late"
            return "a checked write came too late"
        return f"{answer.status} {answer.body[:160].decode(errors='replace')}"

    def look(self, host, timeout):
        """Reads at which index the key is, for the next write to be a checked one."""
        try:
            path = f"/v1/kv/{self.name}"
            answer = request(host.address, "GET", path, None, CATALOG, timeout)
        except BROKEN:
            return
        if answer.status == 200:
            self.index = json.loads(answer.body)[0]["ModifyIndex"]

    def read(self, host):
        """The number a server's own copy has; 0 if it has none."""
        if self.kind == "key":
            answer = request(host.address, "GET", f"/v1/kv/{self.name}?stale", None, CATALOG)
        else:
            answer = request(host.address, "GET", f"/v1/job/{self.name}?stale", None, NOMAD)
        if answer.status == 404:
            return 0
        if answer.status != 200:
            raise Unmet(f"{host}: reading {self.name}: {answer.status} {answer.body[:160]!r}")
        if self.kind == "key":
            return int(base64.b64decode(json.loads(answer.body)[0]["Value"]))
        return int(json.loads(answer.body)["Meta"]["note"])


class Writer(threading.Thread):
    def __init__(self, cluster, registers, seed, pause):
        super().__init__(daemon=True)
        self.cluster, self.registers, self.pause = cluster, registers, pause
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.written, self.unclear, self.refused = 0, 0, {}
        self.longest = 0.0

    def run(self):
        while not self.over.is_set():
            now = time.monotonic()
            rested = [register for register in self.registers if register.rests_until < now]
            if not rested:
                self.over.wait(1)
                continue
            register = self.random.choice(rested)
            host = self.random.choice(self.cluster.alive() or self.cluster.hosts)
            began = time.monotonic()
            try:
                refused = register.write(host, 30)
                if refused:
                    register.rests_until = time.monotonic() + REST
                    self.refused[refused] = self.refused.get(refused, 0) + 1
                else:
                    self.written += 1
                    self.longest = max(self.longest, time.monotonic() - began)
            except BROKEN:
                # Killed under it, or not there: the write may have been done or not.
                self.unclear += 1
                register.rests_until = time.monotonic() + REST
            self.over.wait(self.pause)


def answers(host):
    return request(host.address, "GET", "/v1/status/peers", None, NOMAD, 1).status == 200


def torment(cluster, kills, chance, writers):
    """Kills agents, one at a time, and starts each again."""
    began, victims, back = time.monotonic(), {}, []
    for number in range(1, kills + 1):
        time.sleep(chance.uniform(0, 0.5))
        leader = cluster.leader(30)
        victim = chance.choice(cluster.hosts)
        role = "leader" if victim is leader else "follower"
        victims[role] = victims.get(role, 0) + 1
        victim.kill9()
        time.sleep(chance.uniform(0, 1))
        started = time.monotonic()
        victim.start()
        if not eventually(lambda: answers(victim) and victim.leader(), 30, 0.02):
            ended = victim.agent.poll()
            raise Unmet(f"{victim} isn't back 30 s after kill {number} (exit code: {ended})")
        back.append(time.monotonic() - started)
        if number % 50 == 0:
            written = sum(writer.written for writer in writers)
            print(f"  {number} kills, {written} writes acknowledged, "
                  f"{time.monotonic() - began:.0f} s", flush=True)
    return victims, back


def lost(cluster, registers):
    """What servers lack of what was acknowledged, or have although nobody wrote it."""
    found = []
    for register in registers:
        if register.wrong:
            found.append(f"{register.kind} {register.name}: {register.wrong}")
        for host in cluster.hosts:
            has = register.read(host)
            if not register.acknowledged <= has <= register.tried:
                found.append(f"{host}: {register.kind} {register.name} is {has}, "
                             f"acknowledged was {register.acknowledged} of {register.tried}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="whom to kill, when, what to write")
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between a writer's writes")
    binary_argument(parser)
    arguments = parser.parse_args()
    enter()
    with Cluster(arguments.binary) as cluster:
        print(f"whole after {cluster.start():.2f} s", flush=True)
        writers = []
        for number in range(arguments.writers):
            registers = [Register(kind, f"{kind}-{number}-{i}")
                         for kind in ("job", "key") for i in range(100)]
            writers.append(Writer(cluster, registers, f"{arguments.seed}/{number}", arguments.pause))
        for writer in writers:
            writer.start()
        victims, back = torment(cluster, arguments.kills, random.Random(arguments.seed), writers)
        for writer in writers:
            writer.over.set()
        for writer in writers:
            writer.join(60)
        began = time.monotonic()
        cluster.whole(60)
        whole = time.monotonic() - began
        registers = [register for writer in writers for register in writer.registers]
        # Followers' own copies may be a moment behind.
        eventually(lambda: not lost(cluster, registers), 10, 0.5)
        missing = lost(cluster, registers)
        report(arguments, victims, back, whole, writers, registers, missing)
        if missing:
            sys.exit(1)


def report(arguments, victims, back, whole, writers, registers, missing):
    print(f"kills: {arguments.kills} (seed {arguments.seed}), of them "
          + ", ".join(f"{count} of a {role}" for role, count in sorted(victims.items())))
    back = sorted(back)
    print(f"agents back after a restart: median {back[len(back) // 2]:.2f} s, worst {back[-1]:.2f} s")
    print(f"cluster whole {whole:.2f} s after the last")
    print(f"writes acknowledged: {sum(w.written for w in writers)}, "
          f"longest wait {max(w.longest for w in writers):.2f} s; "
          f"broken off by a kill: {sum(w.unclear for w in writers)}")
    refused = {}
    for writer in writers:
        for why, count in writer.refused.items():
            refused[why] = refused.get(why, 0) + count
    print(f"refused by a living agent: {sum(refused.values())}")
    for why, count in sorted(refused.items(), key=lambda one: -one[1])[:5]:
        print(f"  {count} x {why}")
    print(f"{len(registers)} jobs and keys read from every server: {len(missing)} not as acknowledged")
    for what in missing[:20]:
        print(f"  {what}")


if __name__ == "__main__":
    main()
