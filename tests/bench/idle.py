"""Two proxies before the same idle real servers, one that is told of changes and one that looks by a timer."""

import os
import re
import subprocess
import time

from kit import OTHERS, Broken, Process, free_ports, get, wait_for
from parts import Part
from stage import REPOSITORY

MODES = ("watch", "interval")
SMOKE = 20  # seconds in all
SYNC = re.compile(rb'^kube_peer_proxy_discovery_sync_total\{(.*)\} (\d+)', re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Idle(Part):
    """Idle real servers: what each way of refreshing costs, minute by minute."""

    def run(self):
        directory, port = self.stage.file("idle"), free_ports(4) + 2
        up = [os.path.join(REPOSITORY, "tests/real/up"), "--dir", directory, "--port", port]
        up = Process([*up, "a=1.36", "b=1.35"], OTHERS, stderr=None)
        wait_for("two real servers", lambda: os.path.exists(os.path.join(directory, "ready")), up)
        urls = {name: f"https://127.0.0.1:{port + number}" for number, name in enumerate("ab")}
        pki = os.path.join(directory, "pki")
        modes = [mode for mode in MODES if self.known(mode)]
        self.notes += [f"this build has no --discovery-refresh={mode}" for mode in MODES if mode not in modes]
        flags = {mode: ["--access-log=off", f"--discovery-refresh={mode}"] for mode in modes}
        proxies = {mode: self.stage.proxy(urls, *flags[mode], pki=pki) for mode in modes}
        # What a start costs is no cost of being idle.
        self.quiet(proxies)
        step, steps = (SMOKE / 4, 4) if self.options.smoke else (60, self.options.minutes)
        self.notes.append(f"each column is {step:.0f} s; fetches of {len(urls)} servers' discovery, then CPU time in ms")
        fetches, cpu = {mode: [] for mode in modes}, {mode: [] for mode in modes}
        before = {mode: seen(proxy) for mode, proxy in proxies.items()}
        first, costs = dict(before), {mode: proxy.cpu() for mode, proxy in proxies.items()}
        deadline = time.monotonic()
        for number in range(steps):
            deadline += step
            time.sleep(max(0, deadline - time.monotonic()))
            for mode, proxy in proxies.items():
                proxy.check()
                now, cost = seen(proxy), proxy.cpu()
                fetches[mode].append(sum(now.values()) - sum(before[mode].values()))
                cpu[mode].append((cost - costs[mode]) * 1e3)
                before[mode], costs[mode] = now, cost
            shown = ", ".join(f"{mode} {fetches[mode][-1]} fetches {cpu[mode][-1]:.0f} ms" for mode in modes)
            print(f"{number + 1}/{steps}: {shown}", flush=True)
        for mode in modes:
            self.rows.append((f"{mode}: fetches", " ".join(f"{count:4}" for count in fetches[mode])))
        for mode in modes:
            self.rows.append((f"{mode}: CPU", " ".join(f"{cost:4.0f}" for cost in cpu[mode])))
        for mode in modes:
            more = {key: count - first[mode].get(key, 0) for key, count in before[mode].items()}
            kinds = [f"{trigger}/{result} {count}" for (trigger, result), count in sorted(more.items()) if count]
            self.rows.append((f"{mode}: of which (trigger/result)", ", ".join(kinds) or "none"))
        for proxy in proxies.values():
            proxy.stop()
        up.stop()

    def known(self, mode):
        """Whether `serve` has this mode, by what it says of itself."""
        told = subprocess.run([self.stage.binary, "serve", "--help"], capture_output=True, text=True, check=True)
        flag = told.stdout.split("--discovery-refresh ", 1)[1].split("--discovery-refresh-interval", 1)[0]
        return mode in flag

    @staticmethod
    def quiet(proxies):
        """Waits until each server was heard by each proxy, and nothing was fetched for a while."""
        since, last = time.monotonic(), None
        deadline = since + 60
        while time.monotonic() - since < 3:
            now = [seen(proxy) for proxy in proxies.values()]
            if now != last:
                since, last = time.monotonic(), now
            if time.monotonic() > deadline:
                break  # A timer of a few seconds is never quiet.
            time.sleep(0.2)
        if not all(sum(counts.values()) for counts in last):
            raise Broken("a proxy has not fetched anything")


def seen(proxy):
    """Fetches so far by trigger and result, over all servers."""
    metrics = get(proxy.admin + "/metrics")[2]
    counts = {}
    for labels, count in SYNC.findall(metrics):
        named = dict(LABEL.findall(labels.decode()))
        key = (named["trigger"], named["result"])
        counts[key] = counts.get(key, 0) + int(count)
    return counts
