"""The five measurements. Each gives rows for the table and verdicts on its goals."""

import statistics
import subprocess
from dataclasses import dataclass

from kit import OTHERS, Broken, Figures, Load, Process, helper, get, have, wait_for
from stage import AGGREGATED, BENCH_TOKEN, COLLECTION, HEADERS, OBJECT, Natives

KIB, MIB = 1024, 1024 * 1024


@dataclass
class Goal:
    """What was to be reached, and what was."""

    what: str
    goal: str
    seen: str
    met: bool


class Part:
    """Rows are (what, Figures or text); goals are for the end of the report."""

    def __init__(self, stage, options, natives):
        self.stage, self.options, self.natives = stage, options, natives
        self.rows, self.goals, self.notes = [], [], []

    def rounds(self, contenders, requests):
        """Interleaved: each round measures everybody once, after a few requests for warmth."""
        figures = {name: Figures() for name in contenders}
        for _ in range(self.options.rounds):
            for name, (process, load) in contenders.items():
                load.run(max(requests // 20, load.connections), self.stage.directory)
                figures[name].measure(process, load, requests, self.stage.directory)
        self.rows += figures.items()
        return figures

    def goal(self, what, goal, seen, met):
        self.goals.append(Goal(what, goal, seen, met))


class Forward(Part):
    """A 1 KiB object, TLS in and TLS out."""

    def run(self):
        stage = self.stage
        origin = stage.origin()
        upstream = f"server origin 127.0.0.1:{origin.port}"
        servers = {"a": origin.url}
        quiet = stage.proxy(servers, "--access-log=off")
        logging = stage.proxy(servers)
        # Name -> (process, front is HTTP/1.1, protocol towards the origin, certificate)
        setup = {
            "no proxy (origin's CPU), h2": (origin.process, False, "h2", ()),
            "no proxy (origin's CPU), h1": (origin.process, True, "h1", ()),
        }
        if have("haproxy"):
            h2, h1 = f"{upstream} alpn h2 proto h2", f"{upstream} alpn http/1.1"
            setup["HAProxy, h2 to h2"] = (stage.haproxy("h2", h2), False, "h2", ())
            setup["HAProxy, h2 to h1"] = (stage.haproxy("h1", h1), False, "h1", ())
            setup["HAProxy, h1 to h1"] = (stage.haproxy("h1-h1", h1, "http/1.1"), True, "h1", ())
        if have("nginx"):
            setup["nginx, h2 to h1"] = (stage.nginx(origin), False, "h1", ())
            setup["nginx, h2 to h1, access log"] = (stage.nginx(origin, "/dev/null"), False, "h1", ())
            setup["nginx, h1 to h1"] = (stage.nginx(origin), True, "h1", ())
        ours = {
            "ours, h2 to h2, token": (quiet, False, "h2", ()),
            "ours, h2 to h2, certificate": (quiet, False, "h2", stage.admin),
            "ours, h1 to h2, token": (quiet, True, "h2", ()),
            "ours, h2 to h2, token, access log": (logging, False, "h2", ()),
        }
        contenders = {}
        for name, (process, h1, protocol, identity) in {**setup, **ours}.items():
            url = origin.url if process is origin.process else process.url
            load = Load(url + OBJECT, ca=origin.ca, h1=h1, identity=identity)
            load.connections = 64 if h1 else 8
            load.headers = HEADERS if identity else [*HEADERS, BENCH_TOKEN]
            contenders[name] = (process, load)
            self.check(name, load, origin, protocol)
        figures = self.rounds(contenders, self.options.requests)
        self.verdict(figures, list(ours)[:2])
        for process, *_ in {**setup, **ours}.values():
            process.stop()

    def check(self, name, load, origin, protocol):
        """That the upstream speaks what the name says; the first requests may go another way."""
        load.run(256, self.stage.directory)
        before = origin.seen()
        load.run(256, self.stage.directory)
        after = origin.seen()
        seen = {key: after[key] - before[key] for key in ("h1", "h2")}
        # Probes of ours come in between.
        if seen[protocol] < 256 or sum(seen.values()) > 270:
            raise Broken(f"{name}: the origin saw {seen} of 256 requests")

    def verdict(self, figures, ours):
        if "nginx, h2 to h1" not in figures:
            self.notes.append("no nginx, so no verdict: apt-get install nginx-light")
            return
        nginx = figures["nginx, h2 to h1"].median()
        for name in ours:
            cpu = figures[name].median()
            seen = f"{cpu:.1f} µs, {cpu / nginx:.2f} of nginx's"
            self.goal(f"forward, {name}", f"below nginx: {nginx:.1f} µs", seen, cpu < nginx)


class Reroute(Part):
    """A GET that home cannot answer, against the native Mixed Version Proxy."""

    def run(self):
        natives = self.natives()
        a, b, job = natives.a, natives.b, Natives.JOB
        ours = self.stage.proxy({"a": a.url, "b": b.url}, "--access-log=off", pki=natives.pki)
        load = lambda process, path, **more: natives.load(process, path, **more)
        certificate = load(ours, job, identity=natives.identity)
        certificate.headers = HEADERS
        wait_for("our reroute", lambda: natives.get(ours, job)[0] == 200)
        native, direct = "native: a + b, via a", "native: b, direct"
        contenders = {
            native: ([a, b], load(a, job)),
            direct: (b, load(b, job)),
            "native: a, direct, a configmap": (a, load(a, Natives.CONFIGMAP)),
            "ours + b, token": ([ours, b], load(ours, job)),
            "ours + b, certificate": ([ours, b], certificate),
        }
        figures = self.rounds(contenders, max(self.options.requests // 10, 100))
        # A reroute costs what the whole takes more than if the client had gone where the object is.
        base = figures[direct].median()
        extra = figures[native].median() - base
        shares = f"a alone {figures[native].share(0):.0f} µs"
        self.rows.append(("native: extra CPU of a reroute", f"{extra:.0f} µs ({shares})"))
        for name in list(contenders)[-2:]:
            cpu, more = figures[name].share(0), figures[name].median() - base
            self.rows.append((f"{name}: extra CPU of a reroute", f"{more:.0f} µs (ours alone {cpu:.0f} µs)"))
            seen = f"{cpu:.1f} µs, 1/{extra / cpu:.1f}"
            self.goal(f"reroute, {name.replace(' + b', '')}", f"1/10 of native's {extra:.0f} µs", seen, cpu <= extra / 10)
        ours.stop()


class Discovery(Part):
    """The merged document, whole and not modified."""

    LIMIT = 20

    def run(self):
        home, peer = self.stage.origin(), self.stage.origin("--minor", "32")
        servers = {"a": home.url, "b": peer.url}
        cached = self.stage.proxy(servers, "--access-log=off")
        asking = self.stage.proxy(servers, "--access-log=off", "--discovery-authorization-ttl=0s")
        contenders = {}

        def add(name, process, load):
            status, headers, body = self.ask(process, load)
            if status != 200 or b"APIGroupDiscoveryList" not in body:
                raise Broken(f"{name}: {status} {body[:200]}")
            self.notes.append(f"{name}: the document has {len(body)} bytes")
            contenders[f"{name}, 200"] = (process, load)
            headers = [*load.headers, f"if-none-match: {headers['etag']}"]
            contenders[f"{name}, 304"] = (process, Load(load.url, headers=headers, ca=load.ca, expect=304))

        for name, process in (("ours", cached), ("ours, asking home each time", asking)):
            load = Load(process.url + "/apis", headers=[*HEADERS[:1], AGGREGATED, BENCH_TOKEN], ca=process.ca)
            add(name, process, load)
        if self.natives:
            natives = self.natives()
            load = natives.load(natives.a, "/apis")
            load.headers = [*HEADERS[:1], AGGREGATED, load.headers[-1]]
            # It learns of its peer a while after it has begun to reroute.
            wait_for("native's merged document", lambda: b'"batch"' in self.ask(natives.a, load)[2])
            add("native", natives.a, load)
        figures = self.rounds(contenders, max(self.options.requests // 4, 100))
        for status in (200, 304):
            cpu = figures[f"ours, {status}"].median()
            check = figures[f"ours, asking home each time, {status}"].median() - cpu
            self.rows.append((f"ours, the authorization check alone, {status}", f"{check:.1f} µs"))
            native = figures.get(f"native, {status}")
            seen = f"{cpu:.1f} µs" + (f", 1/{native.median() / cpu:.0f} of native's" if native else "")
            self.goal(f"merged discovery, {status}", f"{self.LIMIT} µs", seen, cpu <= self.LIMIT)
        for process in (cached, asking, home.process, peer.process):
            process.stop()

    @staticmethod
    def ask(process, load):
        return get(load.url, load.headers, load.ca)


class Watches(Part):
    """Watches in which nothing happens."""

    LIMIT = 15 * KIB

    def run(self):
        streams = 100
        connections = max(self.options.watches // streams, 1)
        count = connections * streams
        origin = self.stage.origin()
        # More than the default, which is made for 6,400 watches of one server.
        roomy = {"maxTokenConnections": 4 * connections, "maxIdentityConnections": 4 * connections}
        for kind in ("token", "certificate"):
            proxy = self.stage.proxy({"a": origin.url}, "--access-log=off", config=roomy)
            load = Load(proxy.url + OBJECT, headers=[BENCH_TOKEN])
            load.run(2000, self.stage.directory)
            before = proxy.rss(), proxy.memory("Anonymous")
            args = [helper(), "watch", f"{proxy.url}{COLLECTION}?watch=true", "--ca", origin.ca]
            args += ["--connections", connections, "--streams", streams]
            args += [f"--header={BENCH_TOKEN}"] if kind == "token" else []
            args += ["--cert", self.stage.admin[0], "--key", self.stage.admin[1]] if kind != "token" else []
            asked = origin.seen()["h2"]
            client = Process(args, OTHERS, stdout=subprocess.PIPE)
            if client.popen.stdout.readline() != b"open\n" or origin.seen()["h2"] < asked + count - connections:
                raise Broken(f"{count} watches could not be opened ({kind})")
            each = [
                (after - start) / count for start, after in zip(before, (proxy.rss(), proxy.memory("Anonymous")))
            ]
            text = f"{each[0] / KIB:.1f} KiB each; anonymous memory alone {each[1] / KIB:.1f} KiB"
            self.rows.append((f"ours, {count} idle watches, {kind}", text))
            seen = f"{each[0] / KIB:.1f} KiB"
            self.goal(f"an idle watch, {kind}", f"{self.LIMIT // KIB} KiB", seen, each[0] <= self.LIMIT)
            client.stop()
            proxy.stop()
        origin.process.stop()


class List(Part):
    """A long list, streamed."""

    def run(self):
        size = self.options.list_bytes
        origin = self.stage.origin("--list-bytes", str(size))
        proxy = self.stage.proxy({"a": origin.url}, "--access-log=off")
        direct = Load(origin.url + COLLECTION, 1, 1, ca=origin.ca, identity=self.stage.admin)
        through = Load(proxy.url + COLLECTION, 1, 1, ca=origin.ca, identity=self.stage.admin)
        Load(proxy.url + OBJECT, ca=origin.ca, identity=self.stage.admin).run(100, self.stage.directory)
        times, growth = {"direct": [], "through us": []}, []
        costs = []
        for _ in range(self.options.rounds):
            times["direct"] += direct.run(1, self.stage.directory)
            before, cpu = proxy.rss(), proxy.cpu()
            proxy.forget_peak()
            times["through us"] += through.run(1, self.stage.directory)
            growth.append(proxy.peak() - before)
            costs.append(proxy.cpu() - cpu)
        for name, micros in times.items():
            self.rows.append((f"list of {size / 1e6:.0f} MB, {name}", f"{statistics.median(micros) / 1e3:.0f} ms"))
        self.rows.append(("ours, CPU for the list", f"{statistics.median(costs) * 1e3:.0f} ms"))
        self.rows.append(("ours, growth of the resident set's peak, worst", f"{max(growth) / MIB:.1f} MiB"))
        origin.process.stop()
        proxy.stop()


PARTS = {"forward": Forward, "reroute": Reroute, "discovery": Discovery, "watches": Watches, "list": List}
NEED_NATIVES = {"reroute"}
