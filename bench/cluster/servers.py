#!/usr/bin/env python3
"""Elections, commit latency and writes per second of clusters of 1, 3 and 5 servers.

A write is the registration of a batch job that wants no instance: one entry of the log for it, and
those of its evaluation. Clients talk to the leader. All hosts share this machine's cores and disk.
"""

import argparse
import json
import select
import socket
import statistics
import time

import jobs
from hosts import NOMAD, Cluster, Unmet, binary_argument, enter, eventually, request
from watching import Watch, address


class Client:
    """A connection that writes one job after the other, as cheaply as Python can."""

    def __init__(self, host, name):
        self.host, self.name, self.number = host, name, 0
        self.socket = socket.create_connection((host.address, NOMAD), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""
        self.began = 0.0

    def send(self):
        self.number += 1
        # Twenty jobs, so that the servers' state stays small.
        body = json.dumps({"Job": jobs.empty(f"{self.name}-{self.number % 20}", self.number)}).encode()
        head = f"PUT /v1/jobs HTTP/1.1\r\nHost: {self.host.address}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.began = time.monotonic()
        self.socket.sendall(head.encode() + body)

    def receive(self):
        """Whether the answer is whole; raises Unmet unless it is good."""
        part = self.socket.recv(65536)
        if not part:
            raise Unmet(f"{self.host} closed the connection")
        self.got += part
        head, end, body = self.got.partition(b"\r\n\r\n")
        if not end:
            return False
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                      if line.startswith(b"content-length:"))
        if len(body) < length:
            return False
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise Unmet(f"{self.host}: {head.splitlines()[0]!r} {body[:200]!r}")
        self.got = b""
        return True

    def write(self):
        self.send()
        while not self.receive():
            pass
        return time.monotonic() - self.began


def latency(host, count):
    client = Client(host, "one")
    for _ in range(20):
        client.write()
    times = sorted(client.write() for _ in range(count))
    client.socket.close()
    return times


def throughput(host, clients, seconds):
    """Writes per second, and how long each took, with many clients at once."""
    poll, by_number, times = select.epoll(), {}, []
    for number in range(clients):
        client = Client(host, f"many-{number}")
        by_number[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
        client.send()
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        ready = poll.poll(30)
        if not ready:
            raise Unmet(f"{host}: no answer in 30 s")
        for number, _ in ready:
            client = by_number[number]
            if client.receive():
                times.append(time.monotonic() - client.began)
                client.send()
    took = time.monotonic() - began
    for client in by_number.values():
        client.socket.close()
    return len(times) / took, sorted(times)


def elections(cluster, count):
    """The seconds without a leader after it is killed; alone, until it is back itself."""
    times = []
    for _ in range(count):
        leader = cluster.leader()
        others = cluster.others(leader) or [leader]
        said = lambda host: lambda: request(
            host.address, "GET", "/v1/status/leader", None, NOMAD, 1).json()
        watches = [Watch(said(host), 0.005) for host in others]
        time.sleep(0.2)
        leader.kill9()
        began = time.monotonic()
        if others == [leader]:
            time.sleep(0.2)
            began = time.monotonic()
            leader.start()
            is_new = bool
        else:
            is_new = lambda said: said and address(said) != leader.address
        found = [watch.first(is_new, began, 30) for watch in watches]
        for watch in watches:
            watch.end()
        if None in found:
            raise Unmet("no new leader in 30 s")
        times.append(max(found))
        if others != [leader]:
            leader.start()
        cluster.whole()
    return sorted(times)


def part(times, share):
    return times[min(len(times) - 1, int(len(times) * share))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--elections", type=int, default=10)
    parser.add_argument("--writes", type=int, default=500, help="of the one client")
    parser.add_argument("--clients", type=int, default=64, help="at once")
    parser.add_argument("--seconds", type=float, default=10, help="of the many clients")
    binary_argument(parser)
    arguments = parser.parse_args()
    enter()
    lines = [f"{'servers':>7}  {'election s':>16}  {'commit ms, 1 client':>22}  "
             f"{'writes/s':>9}  {f'ms, {arguments.clients} clients':>18}",
             f"{'':>7}  {'median':>8}{'worst':>8}  {'median':>11}{'p99':>11}  {'':>9}  "
             f"{'median':>9}{'p99':>9}"]
    for count in arguments.servers:
        with Cluster(arguments.binary, count, client=False) as cluster:
            cluster.start()
            leader = cluster.leader()
            alone = latency(leader, arguments.writes)
            rate, many = throughput(leader, arguments.clients, arguments.seconds)
            eventually(lambda: latency(cluster.leader(), 1), 30)
            elected = elections(cluster, arguments.elections)
            lines.append(
                f"{count:>7}  {statistics.median(elected):>8.2f}{elected[-1]:>8.2f}  "
                f"{part(alone, 0.5) * 1e3:>11.2f}{part(alone, 0.99) * 1e3:>11.2f}  {rate:>9.0f}  "
                f"{part(many, 0.5) * 1e3:>9.1f}{part(many, 0.99) * 1e3:>9.1f}")
            print(f"  {count} servers: {elected[0]:.2f}-{elected[-1]:.2f} s, {rate:.0f} writes/s", flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
