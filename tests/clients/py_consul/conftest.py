"""Stands in for the conftest of py-consul's own tests: each test gets an agent of ours.

It runs in a network of its own (see run.sh), so that the agent has Consul's ports.
"""

import collections
import os
import subprocess
import tempfile
import time

import pytest
import requests

PROGRAM = os.environ["DROVER"]
OUT_OF_SCOPE = os.environ["OUT_OF_SCOPE"]
PORT = 8500
STARTED_WITHIN = 20

ConsulInstance = collections.namedtuple("ConsulInstance", ["container", "port", "version"])


def out_of_scope():
    """Parts of test ids, each with the reason why it isn't run."""
    reasons = {}
    with open(OUT_OF_SCOPE, encoding="utf-8") as lines:
        for line in lines:
            part, _, reason = line.strip().partition("  ")
            if part and not part.startswith("#"):
                reasons[part] = reason.strip()
    return reasons


def pytest_collection_modifyitems(items):
    reasons = out_of_scope()
    for item in items:
        for part, reason in reasons.items():
            if part in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=f"out of scope: {reason}"))


def is_up():
    try:
        leader = requests.get(f"http://127.0.0.1:{PORT}/v1/status/leader", timeout=1)
        return leader.status_code == 200 and leader.json()
    except requests.RequestException:
        return False


@pytest.fixture
def consul_instance():
    with tempfile.TemporaryFile() as log:
        agent = subprocess.Popen([PROGRAM, "agent", "-dev"], stdout=log, stderr=log)
        try:
            end = time.monotonic() + STARTED_WITHIN
            while not is_up():
                if agent.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    pytest.fail(f"the agent didn't start: {log.read().decode()[-2000:]}")
                time.sleep(0.02)
            config = requests.get(f"http://127.0.0.1:{PORT}/v1/agent/self", timeout=5).json()
            yield ConsulInstance(agent, PORT, config["Config"]["Version"])
        finally:
            agent.kill()
            agent.wait()


@pytest.fixture
def acl_consul_instance():
    pytest.skip("out of scope: access control")


@pytest.fixture
def consul_port(consul_instance):
    return consul_instance.port, consul_instance.version
