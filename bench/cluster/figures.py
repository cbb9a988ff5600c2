"""What is measured, beside the anchors' figures, and the table of it."""

import statistics

# row: (what, unit, the anchors, bound, which)
METRICS = {
    "leader.elected": ("leader killed: new leader", "s", "2.9-3.6", 1.5, "<"),
    "leader.failed": ("  writes that failed", "", "55-105", 0, "="),
    "leader.waited": ("  longest a write waited", "s", "500 at once", 10, "<"),
    "leader.own_node": ("  its own node down", "s", "303", 8, "<"),
    "leader.others": ("  other nodes marked down", "", "", 0, "="),
    "power.dns": ("power cut: gone from DNS", "s", "5.5-6.1", 3, "<"),
    "power.routes": ("  gone from the proxies' routes", "s", "5.5-6.0", 3, "<"),
    "power.replaced": ("  replacement passing", "s", "34-39", 8, "<"),
    "power.others": ("  other nodes marked down", "", "1", 0, "="),
    "power.failed": ("  requests failed, all", "", "73-253", None, ""),
    "power.failed_later": ("  requests failed, sent 3 s or more after", "", "", 0, "="),
    "cable.dns": ("cable pulled: gone from DNS", "s", "5.5-6.1", 3, "<"),
    "cable.routes": ("  gone from the proxies' routes", "s", "5.5-6.0", 3, "<"),
    "cable.replaced": ("  replacement passing", "s", "34-39", 8, "<"),
    "cable.others": ("  other nodes marked down", "", "1", 0, "="),
    "cable.failed": ("  requests failed, all", "", "73-253", None, ""),
    "cable.failed_later": ("  requests failed, sent 3 s or more after", "", "", 0, "="),
    "cable.surplus": ("  too many instances 10 s after it is back", "", "", 0, "="),
    "dead.dns": ("agent and task killed: gone from DNS", "s", "> 75", 3, "<"),
    "dead.routes": ("  gone from the proxies' routes", "s", "> 75", 3, "<"),
    "dead.replaced": ("  replacement passing", "s", "", 8, "<"),
    "adopt.lost": ("agent killed and restarted: tasks lost", "", "corrupt state", 0, "="),
    "adopt.lines": ("  log lines lost", "", "", 0, "="),
    "adopt.leaked": ("  processes leaked", "", "containers", 0, "="),
    "adopt.failed": ("  requests failed through the others", "", "", 0, "="),
    "adopt.back": ("  its node ready again after the restart", "s", "by hand", None, ""),
    "late.leaked": ("agent back once its task is replaced: leaked", "", "containers", 0, "="),
    "task.early": ("task killed: started before its delay is over", "", "", 0, "="),
    "task.routed": ("  routable again", "s", "16.7-19.8", 19.75, "<"),
    "task.beyond": ("  of that, beyond the 15 s of its restart delay", "s", "1.7-4.8", None, ""),
    "task.502": ("  502s meanwhile", "", "1-3", 0, "="),
    "task.failed": ("  other requests failed meanwhile", "", "", 0, "="),
    "route.first": ("job registered: first 200 through a proxy", "s", "1.9-5.4", 1, "<"),
    "route.all": ("  through all three", "s", "", None, ""),
    "memory.idle": ("memory of a node's agent: nothing runs", "MB", "135", 40, "<"),
    "memory.loaded": ("  10 tasks and routes in the cluster", "MB", "135 + 26 a task", 41, "<"),
    "memory.supervisor": ("  supervisor of a raw_exec task, its own pages", "MB", "26", None, ""),
}


class Measured:
    def __init__(self):
        self.samples = {}
        self.notes = []

    def add(self, metric, value):
        """A sample; None means that it never came about."""
        self.samples.setdefault(metric, []).append(value)

    def note(self, text):
        self.notes.append(text)
        print(f"    {text}", flush=True)

    def verdict(self, metric):
        _, _, _, bound, which = METRICS[metric]
        values = self.samples[metric]
        if bound is None:
            return ""
        met = [v is not None and (v < bound if which == "<" else v == bound) for v in values]
        return "met" if all(met) else "NOT MET"

    def table(self):
        lines = [f"{'event':<48}{'anchors':>16}{'bound':>8}{'median':>10}{'worst':>10}  runs"]
        for metric in METRICS:
            if metric not in self.samples:
                continue
            what, unit, anchors, bound, which = METRICS[metric]
            values = [v if v is not None else float("inf") for v in self.samples[metric]]
            told = [shown(statistics.median(values), unit), shown(max(values), unit)]
            limit = "" if bound is None else f"{'<' if which == '<' else ''} {bound}"
            lines.append(f"{what:<48}{anchors:>16}{limit:>8}{told[0]:>10}{told[1]:>10}"
                         f"  {len(values):>3}  {self.verdict(metric)}")
        return "\n".join(lines)

    def unmet(self):
        return [metric for metric in self.samples if self.verdict(metric) == "NOT MET"]


def shown(value, unit):
    if value == float("inf"):
        return "never"
    return f"{value:.2f} {unit}" if unit else f"{value:g}"
