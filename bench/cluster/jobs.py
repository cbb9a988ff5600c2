"""The jobs the measurements run: the walk-through's, as plain processes or in containers."""

IMAGE = "bigwhite/httpbackendservice:v1.0.0"
SECOND = 1_000_000_000

RESTART = {"Attempts": 50, "Interval": 1800 * SECOND, "Delay": 15 * SECOND, "Mode": "delay"}


def web(cluster, name, site, count=2, check="http", delay=15):
    """httpbackend-2.nomad: instances of a web service behind a route, with a health check."""
    task = {
        "Name": name,
        "Driver": "docker" if cluster.docker else "raw_exec",
        "Resources": {
            "CPU": 50,
            "MemoryMB": 32,
            "Networks": [{"MBits": 1, "DynamicPorts": [{"Label": "http"}]}],
        },
        "Services": [
            {
                "Name": name,
                "PortLabel": "http",
                "Tags": [f"urlprefix-{site}"],
                "Checks": [
                    {
                        "Name": "alive",
                        "Type": check,
                        "Path": "/",
                        "Interval": 10 * SECOND,
                        "Timeout": 2 * SECOND,
                    }
                ],
            }
        ],
    }
    if cluster.docker:
        task["Config"] = {"image": IMAGE, "port_map": [{"http": 8081}]}
    else:
        task["Config"] = {
            "command": cluster.binary,
            "args": ["example-backend", "-listen", "0.0.0.0:${NOMAD_PORT_http}"],
        }
    return job(name, "service", count, task, dict(RESTART, Delay=delay * SECOND))


def counter(name, count):
    """Writes numbered lines without end, so that a lost one shows."""
    script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"
    task = {
        "Name": name,
        "Driver": "raw_exec",
        "Config": {"command": "/bin/sh", "args": ["-c", script]},
        "Resources": {"CPU": 20, "MemoryMB": 10},
    }
    return job(name, "service", count, task, RESTART)


def empty(name, note=""):
    """Nothing to run: what is left is the write."""
    task = {
        "Name": "nothing",
        "Driver": "raw_exec",
        "Config": {"command": "/bin/true"},
        "Resources": {"CPU": 20, "MemoryMB": 10},
    }
    made = job(name, "batch", 0, task)
    made["Meta"] = {"note": str(note)}
    return made


def job(name, kind, count, task, restart=None):
    group = {"Name": name, "Count": count, "Tasks": [task]}
    if restart:
        group["RestartPolicy"] = restart
    return {
        "ID": name,
        "Name": name,
        "Type": kind,
        "Datacenters": ["dc1"],
        "TaskGroups": [group],
    }
