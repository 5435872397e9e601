"""The processes that relay from one port of loopback to another: HAProxy, nginx, Python's ways, ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bench._peers import Missing, command, file

HOST = "127.0.0.1"
MOST_CONNECTIONS = 4000
SELECT_MOST = 400
"""The maximum for select(), in connections of two descriptors."""
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
SPIN_SECONDS = 0.001


class Ports(NamedTuple):
    listen: int
    upstream: int


class Relay(NamedTuple):
    """``command(ports, folder)`` returns the command; it writes its configuration file to the folder."""

    name: str
    command: Callable[[Ports, Path], Sequence[str]]
    environment: Mapping[str, str] = {}
    most_connections: int = MOST_CONNECTIONS
    rewrites: bool = False
    """Whether a request arrives with the upstream's Host."""


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


HAPROXY = """\
global
    nbthread 1
    maxconn 4200
    {tuning}
defaults
    mode {mode}
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    {options}
listen relay
    bind {HOST}:{ports.listen}
    {rules}
    server upstream {HOST}:{ports.upstream}
"""
# Without these two HAProxy splices nothing in tcp mode: splice-auto alone never does.
SPLICE = "option splice-request\n    option splice-response"
BIG_BUFFERS = "tune.bufsize 262144"


def haproxy(
    ports: Ports, folder: Path, tuning: str = "", options: str = "", mode: str = "tcp", rules: str = ""
) -> list[str]:
    text = HAPROXY.format(HOST=HOST, ports=ports, tuning=tuning, options=options, mode=mode, rules=rules)
    return [*command("haproxy"), "-db", "-f", written(folder / "haproxy.cfg", text)]


def haproxy_http(ports: Ports, folder: Path) -> list[str]:
    return haproxy(ports, folder, mode="http", rules=f"http-request set-header Host {HOST}:{ports.upstream}")


NGINX = """\
{modules}
daemon off;
master_process off;
worker_rlimit_nofile 16384;
pid {folder}/pid;
events {{ worker_connections 8192; }}
{block}
"""


def nginx(folder: Path, block: str, modules: str = "") -> list[str]:
    text = NGINX.format(modules=modules, folder=folder, block=block)
    return [*command("nginx"), "-e", "stderr", "-p", str(folder), "-c", written(folder / "nginx.conf", text)]


def nginx_stream(ports: Ports, folder: Path) -> list[str]:
    server = f"listen {HOST}:{ports.listen} backlog=4096; proxy_pass {HOST}:{ports.upstream};"
    return nginx(folder, f"stream {{ server {{ {server} }} }}", f"load_module {file(NGINX_STREAM)};")


NGINX_HTTP = """\
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_max_temp_file_size 0;
    upstream there {{ server {HOST}:{ports.upstream}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen {HOST}:{ports.listen};
        location / {{
            proxy_pass http://there;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host {HOST}:{ports.upstream};
        }}
    }}
}}
"""


def nginx_http(ports: Ports, folder: Path) -> list[str]:
    return nginx(folder, NGINX_HTTP.format(HOST=HOST, ports=ports, folder=folder))


def socat(ports: Ports, folder: Path) -> list[str]:
    listen = f"TCP-LISTEN:{ports.listen},bind={HOST},reuseaddr,fork,backlog=1024"
    return [*command("socat"), listen, f"TCP:{HOST}:{ports.upstream}"]


def rinetd(ports: Ports, folder: Path) -> list[str]:
    text = f"{HOST} {ports.listen} {HOST} {ports.upstream}\n"
    return [*command("rinetd"), "-f", "-c", written(folder / "rinetd.conf", text)]


def in_python(name: str, ports: Ports, folder: Path) -> list[str]:
    if name == "uvloop" and not find_spec(name):
        raise Missing(name)
    return [sys.executable, "-m", "bench._python_relays", name, str(ports.listen), str(ports.upstream)]


def asyncore(ports: Ports, folder: Path) -> list[str]:
    return [asyncore_python(), str(Path(__file__).with_name("_asyncore_relay.py")), *map(str, ports)]


def asyncore_python() -> str:
    """A Python with asyncore: Python 2 if there is one."""
    for name in ("python2.7", "python2", sys.executable):
        trial = [shutil.which(name) or "false", "-W", "ignore", "-c", "import asyncore"]
        if subprocess.run(trial, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return trial[0]
    raise Missing("Python 2 (and this Python has no asyncore any more)")


def fastnet(ports: Ports, folder: Path, **options: object) -> list[str]:
    return [*in_python("fastnet", ports, folder), json.dumps(options)]


def ours(implementations: Sequence[str], **options: object) -> list[Relay]:
    """Each engine of the native implementation if that is measured, and the pure one."""
    engines: dict[str, dict[str, object]] = {
        "auto": {},
        "copy": {"engine": "copy"},
        "splice": {"engine": "splice"},
        "spin": {"spin": SPIN_SECONDS},
    }
    found = []
    if "native" in implementations:
        for name, engine in engines.items():
            found.append(our(f"fastnet {name}", "native", **engine, **options))
    return [*found, our("fastnet pure", "pure", **options)]


def our(name: str, implementation: str, **options: object) -> Relay:
    return Relay(name, partial(fastnet, **options), {"FASTNET_IMPL": implementation})


HTTP_PEERS = (
    Relay("HAProxy http", haproxy_http, rewrites=True),
    Relay("nginx http", nginx_http, rewrites=True),
    Relay("HAProxy splice", partial(haproxy, options=SPLICE)),
)
PEERS = (
    Relay("HAProxy splice", partial(haproxy, options=SPLICE)),
    Relay("HAProxy plain", haproxy),
    Relay("HAProxy 256K buffers", partial(haproxy, tuning=BIG_BUFFERS)),
    Relay("HAProxy busy polling", partial(haproxy, tuning="busy-polling", options=SPLICE)),
    Relay("nginx stream", nginx_stream),
    Relay("rinetd", rinetd, most_connections=SELECT_MOST),
    Relay("socat", socat, most_connections=SELECT_MOST),
    Relay("asyncio.Protocol", partial(in_python, "protocol")),
    Relay("uvloop.Protocol", partial(in_python, "uvloop")),
    Relay("asyncio streams", partial(in_python, "streams")),
    Relay("asyncore", asyncore, most_connections=SELECT_MOST),
)
