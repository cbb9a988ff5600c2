"""What the measurements look with: watches that note when something changes, and traffic."""

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hosts import CATALOG, EDGE, ROUTES, Unmet, request

BROKEN = (OSError, http.client.HTTPException, Unmet, ValueError, KeyError, IndexError)


class Watch(threading.Thread):
    """Looks again and again, and notes each change with its time. What can't be seen is None."""

    def __init__(self, look, pause=0.02):
        super().__init__(daemon=True)
        self.look, self.pause = look, pause
        self.changes = []
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                value = self.look()
            except BROKEN:
                value = None
            if not self.changes or self.changes[-1][1] != value:
                self.changes.append((time.monotonic(), value))
            self.over.wait(self.pause)

    def first(self, holds, since, timeout):
        """The seconds from `since` until it held first; None if it didn't in time."""
        seen = 0
        while True:
            changes = self.changes
            # What was so before counts as it was at `since`.
            for at, value in changes[seen:]:
                later = [other for other, _ in changes if other > at]
                if later and later[0] <= since:
                    continue
                if value is not None and holds(value):
                    return max(0.0, at - since)
            seen = max(0, len(changes) - 1)
            if time.monotonic() > since + timeout:
                return None
            time.sleep(0.005)

    def values(self, since=0.0):
        return [value for at, value in self.changes if at >= since and value is not None]

    def end(self):
        self.over.set()
        self.join(10)


def nodes(host):
    return lambda: {node["Name"]: node["Status"] for node in host.get("/v1/nodes", timeout=1)}


def names(host, service):
    return lambda: host.dns(f"{service}.service.dc1.consul")


def passing(host, service):
    """Where the instances are that pass, by node's address."""

    def look():
        listed = host.get(f"/v1/health/service/{service}?passing", CATALOG, timeout=1)
        return sorted(f"{at['Service']['Address']}:{at['Service']['Port']}" for at in listed)

    return look


def routes(host, site):
    """The targets that a host's proxy has for a site."""

    def look():
        listed = host.get("/api/routes", ROUTES, timeout=1) or []
        mine = [route for route in listed if f"{route['host']}{route['path']}" == site]
        return sorted(route["dst"].split("//")[-1].strip("/") for route in mine)

    return look


def address(instance):
    return instance.rsplit(":", 1)[0]


class Traffic:
    """Requests through the proxies of some hosts in turn, each on a connection of its own."""

    def __init__(self, hosts, site, per_second=50, timeout=5.0):
        self.hosts, self.site, self.timeout = hosts, site, timeout
        self.pause = 1 / per_second
        self.lock = threading.Lock()
        self.good, self.failed = 0, []
        self.over = threading.Event()
        self.pool = ThreadPoolExecutor(400)
        self.pacer = threading.Thread(target=self.pace, daemon=True)
        self.pacer.start()

    def pace(self):
        number, due = 0, time.monotonic()
        while not self.over.is_set():
            self.pool.submit(self.ask, self.hosts[number % len(self.hosts)])
            number, due = number + 1, due + self.pause
            self.over.wait(max(0.0, due - time.monotonic()))

    def ask(self, host):
        began, why = time.monotonic(), ""
        try:
            headers = {"Host": self.site.rstrip("/")}
            answer = request(host.address, "GET", "/", None, EDGE, self.timeout, headers)
            if answer.status != 200:
                why = f"{answer.status} from {host}"
        except BROKEN as error:
            why = f"{error or type(error).__name__} from {host}"
        with self.lock:
            if why:
                self.failed.append((began, time.monotonic(), why))
            else:
                self.good += 1

    def end(self):
        self.over.set()
        self.pacer.join()
        self.pool.shutdown()

    def failed_since(self, since):
        """Requests sent after `since` that weren't answered well."""
        return [failure for failure in self.failed if failure[0] >= since]


class Writer(threading.Thread):
    """Writes without pause, one after the other; each may take long, but must succeed."""

    def __init__(self, hosts, write, timeout=20.0):
        super().__init__(daemon=True)
        self.hosts, self.write, self.timeout = hosts, write, timeout
        self.waits, self.failed = [], []
        self.over = threading.Event()
        self.start()

    def run(self):
        number = 0
        while not self.over.is_set():
            host = self.hosts[number % len(self.hosts)]
            began = time.monotonic()
            try:
                answer = self.write(host, number, self.timeout)
                if answer.status != 200:
                    self.failed.append((began, f"{host}: {answer.status} {answer.body[:120]!r}"))
            except BROKEN as error:
                self.failed.append((began, f"{host}: {error or type(error).__name__}"))
            self.waits.append((began, time.monotonic() - began))
            number += 1
            self.over.wait(0.01)

    def end(self):
        self.over.set()
        self.join(self.timeout + 5)
