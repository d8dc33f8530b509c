"""Who takes part: origins, the proxies that are compared, real kube-apiservers."""

import json
import os
import subprocess

from kit import CORES, MEASURED, OTHERS, Broken, Load, Process, free_port, free_ports, get, have, helper, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))

OBJECT = "/api/v1/namespaces/default/configmaps/x"
COLLECTION = "/api/v1/configmaps"
# What kubectl sends, more or less; every contender gets the same.
HEADERS = ["user-agent: kubectl/v1.36.0 (linux/amd64) kubernetes/0000000", "accept: application/json"]
AGGREGATED = "accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BENCH_TOKEN = "authorization: Bearer bench-token"
# In tests/real/up's tokens.csv.
ADMIN_TOKEN = "authorization: Bearer admin-token"


class Stage:
    """A directory, a PKI, and whoever is started with them."""

    def __init__(self, directory, proxy_binary):
        self.directory, self.binary = directory, proxy_binary
        self.pki = os.path.join(directory, "pki")
        made = [proxy_binary, "certs", "--dir", self.pki]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        # HAProxy wants certificate and key in one file.
        with open(self.file("both.pem"), "w", encoding="ascii") as both:
            for name in ("proxy.crt", "proxy.key"):
                with open(self.pem(name), encoding="ascii") as part:
                    both.write(part.read())
        os.chmod(self.file("both.pem"), 0o600)
        self.admin = (self.pem("admin.crt"), self.pem("admin.key"))

    def file(self, name):
        return os.path.join(self.directory, name)

    def pem(self, name):
        return os.path.join(self.pki, name)

    def write(self, name, text):
        with open(self.file(name), "w", encoding="ascii") as file:
            file.write(text)
        return self.file(name)

    def origin(self, *flags):
        origin = Origin(self, flags)
        wait_for("the origin", lambda: origin.seen() is not None, origin.process)
        return origin

    def proxy(self, servers, *flags, pki=None, config=None):
        """kube-peer-proxy with home `a`; `servers` are URLs by name."""
        port, admin = free_port(), free_port()
        pem = (lambda name: os.path.join(pki, name)) if pki else self.pem
        serving = "proxy-serving" if pki else "proxy"
        args = [self.binary, "serve", "--bind-address=127.0.0.1", f"--secure-port={port}", "--home=a"]
        args += [f"--tls-cert-file={pem(serving + '.crt')}", f"--tls-private-key-file={pem(serving + '.key')}"]
        args += [f"--client-ca-file={pem('ca.crt')}", f"--peer-ca-file={pem('ca.crt')}"]
        args += [f"--proxy-client-cert-file={pem('front-proxy-client.crt')}"]
        args += [f"--proxy-client-key-file={pem('front-proxy-client.key')}"]
        args += [f"--api-server={name}={url}" for name, url in servers.items()]
        args += [f"--admin-bind-address=127.0.0.1:{admin}", *flags]
        if config:
            args += ["--config", self.write(f"config-{port}.yaml", json.dumps(config))]
        process = Process(args, MEASURED)
        ready = lambda: get(f"http://127.0.0.1:{admin}/readyz")[0] == 200
        wait_for("kube-peer-proxy's /readyz", ready, process)
        process.url, process.ca = f"https://127.0.0.1:{port}", pem("ca.crt")
        process.admin = f"http://127.0.0.1:{admin}"
        return process

    def haproxy(self, name, server, front="h2,http/1.1"):
        """HAProxy with one server; `server` are the words that choose the protocol towards it."""
        port = free_port()
        config = f"""
global
  nbthread 1
  maxconn 4096
  no log
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend bench
  bind 127.0.0.1:{port} ssl crt {self.file("both.pem")} alpn {front}
  default_backend bench
backend bench
  {server} ssl ca-file {self.pem("ca.crt")} verify required sni str(kubernetes.default.svc)
"""
        path = self.write(f"{name}.cfg", config)
        process = Process([have("haproxy"), "-f", path, "-db"], MEASURED)
        return self.listening(process, port)

    def nginx(self, origin, access_log="off"):
        """nginx; its upstreams are HTTP/1.1 only."""
        port = free_port()
        root = self.file(f"nginx-{port}")
        os.mkdir(root)
        paths = "".join(f"{kind}_temp_path {root}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = f"""
daemon off; pid {root}/pid; error_log {root}/error crit; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log {access_log}; {paths}
  upstream origin {{ server 127.0.0.1:{origin.port}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {self.pem("proxy.crt")}; ssl_certificate_key {self.pem("proxy.key")};
    keepalive_requests 100000000;
    location / {{
      proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_ssl_trusted_certificate {self.pem("ca.crt")}; proxy_ssl_verify on;
      proxy_ssl_name kubernetes.default.svc; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;
    }}
  }}
}}
"""
        path = self.write(f"nginx-{port}.conf", config)
        process = Process([have("nginx"), "-e", f"{root}/error", "-c", path], MEASURED)
        return self.listening(process, port)

    def listening(self, process, port):
        process.url, process.ca = f"https://127.0.0.1:{port}", self.pem("ca.crt")
        wait_for(process.args[0], lambda: get(process.url + "/readyz", ca=process.ca)[0] == 200, process)
        return process


class Origin:
    """The server of tests/bench/helper.rs, which only reads out what it has prepared."""

    def __init__(self, stage, flags):
        self.port = free_port()
        self.url, self.ca = f"https://127.0.0.1:{self.port}", stage.pem("ca.crt")
        args = [helper(), "origin", f"127.0.0.1:{self.port}", *flags]
        args += ["--cert", stage.pem("apiserver.crt"), "--key", stage.pem("apiserver.key")]
        self.process = Process(args, OTHERS)

    def seen(self):
        """Requests so far by protocol, and connections; this one counts as a connection only."""
        return json.loads(get(self.url + "/bench/seen", ca=self.ca)[2])


class Natives:
    """Two real 1.36 servers with the native Mixed Version Proxy; `a` does not serve batch/v1, `b` does."""

    JOB = "/apis/batch/v1/namespaces/default/jobs/bench"
    CONFIGMAP = "/api/v1/namespaces/default/configmaps/bench"

    @staticmethod
    def missing():
        """What has to be done before there are any; empty if nothing."""
        cache = os.environ.get("KPP_CACHE") or os.path.expanduser("~/.cache/kube-peer-proxy")
        if os.environ.get("KPP_KUBE_APISERVERS") or os.path.exists(os.path.join(cache, "env")):
            return ""
        return "real kube-apiservers: tests/real/fetch (builds them with Go)"

    def __init__(self, stage):
        # etcd takes the two before the servers'.
        directory, port = stage.file("natives"), free_ports(4) + 2
        self.pki = os.path.join(directory, "pki")
        up = [os.path.join(REPOSITORY, "tests/real/up"), "--dir", directory, "--port", port]
        up += ["a=1.36", "native", "--runtime-config=batch/v1=false", "b=1.36", "native"]
        self.up = Process(up, CORES, stderr=None)
        wait_for("the native servers", lambda: os.path.exists(os.path.join(directory, "ready")), self.up)
        self.ca = os.path.join(self.pki, "ca.crt")
        pid = lambda name: int(open(os.path.join(directory, name, "pid"), encoding="ascii").read())
        self.a, self.b = Process.adopt(pid("a"), MEASURED), Process.adopt(pid("b"), OTHERS)
        Process.adopt(pid("etcd"), OTHERS)
        self.a.url, self.b.url = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{port + 1}"
        self.identity = (os.path.join(self.pki, "admin.crt"), os.path.join(self.pki, "admin.key"))
        self.create(self.CONFIGMAP, {"data": {"filling": "x" * 300}})
        container = {"name": "c", "image": "none"}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        self.create(self.JOB, {"spec": {"suspend": True, "template": template}})
        wait_for("the native reroute", lambda: self.get(self.a, self.JOB)[0] == 200)

    def create(self, path, fields):
        """Makes an object; `b` serves everything."""
        parent, name = path.rsplit("/", 1)
        body = json.dumps({"metadata": {"name": name}, **fields}).encode()
        headers = [ADMIN_TOKEN, "content-type: application/json"]
        status, _, answer = get(self.b.url + parent, headers, self.ca, body)
        if status != 201:
            raise Broken(f"{path}: {status} {answer[:300]}")

    def get(self, server, path, *headers):
        return get(server.url + path, [ADMIN_TOKEN, *headers], self.ca)

    def load(self, server, path, **more):
        return Load(server.url + path, headers=[*HEADERS, ADMIN_TOKEN], ca=self.ca, **more)

    def stop(self):
        self.up.stop()
