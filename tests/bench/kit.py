"""Processes pinned to cores, what they cost, and the load that is put on them."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

PATIENCE = 60  # seconds until something that starts must answer
LOAD_LIMIT = 300  # seconds that one load may take

CORES = sorted(os.sched_getaffinity(0))
# What is measured has a core of its own; clients and origins share the others.
MEASURED = CORES[-1:]
OTHERS = CORES[:-1] or CORES


class Broken(Exception):
    """The measurement cannot go on."""


# === Processes ===


class Process:
    """A process that was started here, with its children, or one that somebody else started."""

    started = []

    def __init__(self, args, cores, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        pinned = ["taskset", "-c", ",".join(map(str, cores))]
        self.args = [str(arg) for arg in args]
        command = pinned + self.args
        self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        self.pid = self.popen.pid
        Process.started.append(self)

    @classmethod
    def adopt(cls, pid, cores):
        """Pins all threads of a process whose end is somebody else's business."""
        process = cls.__new__(cls)
        process.args, process.popen, process.pid = [f"process {pid}"], None, pid
        cpus = ",".join(map(str, cores))
        subprocess.run(["taskset", "-a", "-c", "-p", cpus, str(pid)], check=True, stdout=subprocess.DEVNULL)
        return process

    def tree(self):
        pids = [self.pid]
        for pid in pids:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                        pids += [int(child) for child in children.read().split()]
            except FileNotFoundError:
                pass
        return pids

    def cpu(self):
        """Seconds of user and system time of the whole tree until now, to the nanosecond."""
        # clock_getcpuclockid(3): the number of a process' clock. It counts ended threads, too.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.tree())

    def memory(self, key, file="smaps_rollup"):
        """A field of /proc/PID/smaps_rollup or status, in bytes, summed over the tree."""
        total = 0
        for pid in self.tree():
            with open(f"/proc/{pid}/{file}", encoding="ascii") as fields:
                total += sum(int(line.split()[1]) for line in fields if line.startswith(key + ":"))
        return total * 1024

    def rss(self):
        return self.memory("Rss")

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")

    def peak(self):
        """The highest resident set since `forget_peak`."""
        return self.memory("VmHWM", "status")

    def check(self):
        if self.popen and self.popen.poll() is not None:
            raise Broken(f"ended with {self.popen.returncode}: {' '.join(self.args)}")

    def stop(self):
        if self.popen and self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        if self in Process.started:
            Process.started.remove(self)


def stop_all():
    for process in reversed(Process.started[:]):
        process.stop()


def exit_on_signals():
    """A signal ends the run the way an error does, so that everything is stopped."""

    def leave(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_ports(count):
    """The first of so many free ports in a row."""
    for first in random.sample(range(20_000, 32_000), 100):
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return first
            except OSError:
                pass
    raise Broken(f"no {count} free ports in a row")


# === Single requests ===


def get(url, headers=(), ca=None, data=None):
    """Status, headers and body of one request over HTTP/1.1."""
    context = ssl.create_default_context(cafile=ca) if ca else None
    request = urllib.request.Request(url, data=data, headers=dict(h.split(": ", 1) for h in headers))
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def wait_for(what, condition, process=None, patience=PATIENCE):
    """Waits until `condition` holds; connections that are refused meanwhile are no error."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if process:
            process.check()
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {patience} s")
        time.sleep(0.05)


# === Load ===


@dataclass
class Load:
    """A closed loop: so many connections, so many requests at a time on each."""

    url: str
    connections: int = 8
    streams: int = 8
    h1: bool = False
    headers: list = field(default_factory=list)
    ca: str = ""
    # (certificate, key): h2load cannot show one, so tests/bench/helper.rs sends the requests.
    identity: tuple = ()
    expect: int = 200

    def run(self, requests, scratch):
        """Sends them; the latencies in microseconds."""
        load = self._with_certificate if self.identity else self._h2load
        latencies = load(requests, os.path.join(scratch, "load"))
        if len(latencies) != requests:
            raise Broken(f"{self.url}: {requests} requests, {len(latencies)} answers {self.expect}")
        return latencies

    def _h2load(self, requests, log):
        if os.path.exists(log):
            os.remove(log)
        protocol = ["--h1"] if self.h1 else ["-m", str(self.streams)]
        args = ["h2load", "-n", str(requests), "-c", str(min(self.connections, requests)), *protocol]
        args += ["--log-file", log] + [word for header in self.headers for word in ("-H", header)] + [self.url]
        run(args)
        with open(log, encoding="ascii") as lines:
            rows = [line.split("\t") for line in lines]
        return [float(row[2]) for row in rows if int(row[1]) == self.expect]

    def _with_certificate(self, requests, _log):
        cert, key = self.identity
        args = [helper(), "load", self.url, "--ca", self.ca, "--cert", cert, "--key", key]
        args += ["--connections", str(self.connections), "--streams", str(self.streams)]
        args += ["--requests", str(requests)] + [f"--header={header}" for header in self.headers]
        seen = json.loads(run(args))
        return seen["micros"][seen["failed"] :]


def run(args, cores=None, limit=LOAD_LIMIT):
    """A command to its end, on the cores of the clients; its output."""
    pinned = ["taskset", "-c", ",".join(map(str, cores or OTHERS))]
    done = subprocess.run(
        pinned + [str(arg) for arg in args], capture_output=True, text=True, timeout=limit, check=False
    )
    if done.returncode:
        raise Broken(f"{' '.join(map(str, args))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def helper():
    return os.environ["KPP_BENCH_HELPER"]


def have(program):
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


# === Figures ===


@dataclass
class Figures:
    """What the rounds of one thing gave. CPU in µs for one request, latencies in µs."""

    cpu: list = field(default_factory=list)
    # Of each process, where the costs of several are added.
    shares: list = field(default_factory=list)
    p50: list = field(default_factory=list)
    p99: list = field(default_factory=list)
    rate: list = field(default_factory=list)
    rss: int = 0

    def measure(self, process, load, requests, scratch):
        """One round. `process` may be several, whose costs are added."""
        processes = process if isinstance(process, list) else [process]
        before, began = [p.cpu() for p in processes], time.monotonic()
        latencies = sorted(load.run(requests, scratch))
        took = time.monotonic() - began
        costs = [(p.cpu() - start) / requests * 1e6 for p, start in zip(processes, before)]
        self.shares.append(costs)
        self.cpu.append(sum(costs))
        self.p50.append(latencies[len(latencies) // 2])
        self.p99.append(latencies[min(len(latencies) * 99 // 100, len(latencies) - 1)])
        self.rate.append(requests / took)
        self.rss = sum(p.rss() for p in processes)

    def median(self, name="cpu"):
        return statistics.median(getattr(self, name))

    def share(self, number):
        return statistics.median(costs[number] for costs in self.shares)
