"""Thousands of CRDs on three real servers: what the proxy spends to know them, and on answers made of them."""

import http.client
import json
import os
import ssl
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from kit import MEASURED, OTHERS, Broken, Load, Process, free_ports, get, wait_for
from parts import MIB, Part
from stage import ADMIN_TOKEN, AGGREGATED, HEADERS, REPOSITORY

KINDS = 20  # in each group
CREATORS = 8  # at the same time
PATIENCE = 900  # seconds for the servers to know them all
REFRESH = 2  # seconds, the proxy's


class Scale(Part):
    """Thousands of CRDs, three real servers."""

    REPUBLISH = 100  # ms

    def run(self):
        count = self.options.crds
        self.start()
        began = time.monotonic()
        self.create(range(count))
        self.rows.append((f"{count} CRDs made on a real server", f"{time.monotonic() - began:.0f} s"))
        for server in self.servers:
            wait_for(f"{count} CRDs on {server.url}", lambda s=server: self.known(s) >= count, patience=PATIENCE)
        servers = {name: server.url for name, server in zip("abc", self.servers)}
        flags = ["--access-log=off", f"--discovery-refresh-interval={REFRESH}s"]
        proxy = self.stage.proxy(servers, *flags, pki=self.pki)
        self.rows.append(("ours, at the start: CPU, resident", f"{self.cost(proxy)} ms, {proxy.rss() / MIB:.0f} MiB"))
        wait_for("our hashes", lambda: b"storageVersionHash" in self.ask(proxy, self.list_path(0))[1])
        self.quiet(proxy)
        self.rows.append(("ours, and all lists read", f"{self.cost(proxy)} ms, {proxy.rss() / MIB:.0f} MiB"))
        self.unchanged(proxy)
        self.changed(proxy, count)
        self.answers(proxy)
        proxy.stop()
        self.up.stop()

    def start(self):
        directory, port = self.stage.file("scale"), free_ports(5) + 2
        self.pki = os.path.join(directory, "pki")
        up = [os.path.join(REPOSITORY, "tests/real/up"), "--dir", directory, "--port", port]
        self.up = Process([*up, "a=1.36", "b=1.36", "c=1.35"], OTHERS, stderr=None)
        wait_for("three real servers", lambda: os.path.exists(os.path.join(directory, "ready")), self.up)
        self.ca = os.path.join(self.pki, "ca.crt")
        self.servers = []
        for number, name in enumerate("abc"):
            with open(os.path.join(directory, name, "pid"), encoding="ascii") as pid:
                server = Process.adopt(int(pid.read()), OTHERS)
            server.url = f"https://127.0.0.1:{port + number}"
            self.servers.append(server)

    def create(self, numbers):
        """Makes CRDs over a few connections that are kept."""

        def some(mine):
            url = urllib.parse.urlsplit(self.servers[0].url)
            context = ssl.create_default_context(cafile=self.ca)
            connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=120, context=context)
            key, value = ADMIN_TOKEN.split(": ", 1)
            headers = {key: value, "content-type": "application/json"}
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            for number in mine:
                connection.request("POST", path, json.dumps(crd(number)), headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status not in (201, 409):
                    raise Broken(f"CRD {number}: {answer.status} {body[:300]}")
            connection.close()

        with ThreadPoolExecutor(CREATORS) as pool:
            list(pool.map(some, [numbers[first::CREATORS] for first in range(CREATORS)]))

    def ask(self, server, path, *headers):
        """Status and body of one GET as the administrator."""
        status, _, body = get(server.url + path, [ADMIN_TOKEN, *headers], self.ca)
        return status, body

    def known(self, server):
        return self.ask(server, "/apis", AGGREGATED)[1].count(b".scale.example.com")

    @staticmethod
    def list_path(number):
        return f"/apis/{group(number)}/v1"

    @staticmethod
    def cost(process, since=0.0):
        return round((process.cpu() - since) * 1e3)

    @staticmethod
    def quiet(process):
        """Waits until a whole refresh costs next to nothing."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            before = process.cpu()
            time.sleep(2 * REFRESH)
            if process.cpu() - before < 0.05:
                return
        raise Broken("the proxy does not come to rest")

    def unchanged(self, proxy):
        """Refreshes in which nothing happens."""
        before = proxy.cpu()
        time.sleep(10 * REFRESH)
        each = self.cost(proxy, before) / 10 / len(self.servers)
        self.rows.append(("ours, refresh of a server, nothing changed", f"{each:.1f} ms (probes included)"))

    def changed(self, proxy, count):
        """One more CRD."""
        costs = []
        for number in range(count, count + self.options.rounds):
            before, began = proxy.cpu(), time.monotonic()
            self.create([number])
            name = f"thing{number}".encode()
            wait_for("the new CRD", lambda: name in self.ask(proxy, "/apis", AGGREGATED)[1])
            took = time.monotonic() - began
            self.quiet(proxy)
            costs.append(self.cost(proxy, before))
            self.rows.append((f"ours, one CRD more: seen after, CPU for {len(self.servers)} servers",
                              f"{took:.1f} s, {costs[-1]} ms"))
        each = sorted(costs)[len(costs) // 2] / len(self.servers)
        goal = f"{self.REPUBLISH} ms of CPU"
        self.goal("one changed CRD republishes", goal, f"{each:.0f} ms for each server", each < self.REPUBLISH)

    def answers(self, proxy):
        """The first answer of each kind, and later ones."""
        contenders = {}
        for name, path, headers in (
            ("aggregated v2, /apis", "/apis", [AGGREGATED]),
            ("legacy, /apis", "/apis", []),
            ("legacy, a list of one group-version", self.list_path(0), []),
            ("OpenAPI v3, index", "/openapi/v3", []),
        ):
            before, began, resident = proxy.cpu(), time.monotonic(), proxy.rss()
            status, body = self.ask(proxy, path, *headers)
            if status != 200:
                raise Broken(f"{path}: {status} {body[:200]}")
            text = f"{(time.monotonic() - began) * 1e3:.0f} ms, {self.cost(proxy, before)} ms CPU, "
            text += f"{len(body) / 1024:.0f} KiB, {(proxy.rss() - resident) / MIB:+.0f} MiB resident"
            self.rows.append((f"ours, first {name}", text))
            load = Load(proxy.url + path, headers=[HEADERS[0], ADMIN_TOKEN, *headers], ca=proxy.ca)
            contenders[f"{name} ({len(body) / 1024:.0f} KiB)"] = (proxy, load)
        self.rounds(contenders, max(self.options.requests // 100, 64))


def group(number):
    return f"g{number // KINDS}.scale.example.com"


def crd(number):
    name, kind = f"thing{number}", f"Thing{number}"
    schema = {"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "colour": {"type": "string"}}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": f"{name}s", "singular": name, "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{name}s.{group(number)}"},
        "spec": {"group": group(number), "scope": "Namespaced", "names": names, "versions": [version]},
    }
