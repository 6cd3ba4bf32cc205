"""Debian's nginx in front of a gateway, in the two ways in which ours is run behind one."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.free_port import free_port
from tests.support.waiting import eventually

PROXY_FILE = Path(__file__).parents[3] / "deploy/proxy/nginx.conf"
MISSING = "nginx is not installed: apt-get install nginx-light"
CONFIGURATION = """
daemon off;
master_process off;  # else its worker is another user, who may not enter this folder
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""
# What ingress-nginx makes of an Ingress (rootfs/etc/nginx/template/nginx.tmpl): `Upgrade` goes on,
# and connections to the upstream are kept. Bodies go on as they come, as an annotation has it.
INGRESS = """
map $http_upgrade $connection_upgrade {{
    default upgrade;
    '' '';
}}
upstream upstream_balancer {{
    server {gateway};
    keepalive 320;
    keepalive_timeout 60s;
    keepalive_requests 10000;
}}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_connect_timeout 2s;
        proxy_next_upstream error timeout;
        proxy_pass http://upstream_balancer;
    }}
}}
"""


@contextmanager
def running_nginx(folder: Path, gateway: str) -> Iterator[dict[str, str]]:
    """Its addresses, by the way in which it is configured.

    Args:
        folder: an empty one of its own.
        gateway: host and port.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    ports = {"deploy/proxy": free_port(), "ingress-nginx": free_port()}
    servers = as_deployed(gateway, ports["deploy/proxy"])
    servers += INGRESS.format(gateway=gateway, port=ports["ingress-nginx"])
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, servers=servers))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(file)], cwd=folder)
    try:
        for port in ports.values():
            eventually(
                lambda port=port: socket.create_connection(("127.0.0.1", port)).close(),
                retry_on=OSError,
            )
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        process.terminate()
        process.wait(30)


def as_deployed(gateway: str, port: int) -> str:
    """`deploy/proxy/nginx.conf` for this gateway, without its certificates."""
    text = PROXY_FILE.read_text()
    for pattern, replacement in (
        (r"listen 443 ssl http2 backlog=4096;", f"listen 127.0.0.1:{port} backlog=4096;"),
        (r"^ *ssl_certificate.*$", ""),
        (r"server 127\.0\.0\.1:8000", f"server {gateway}"),
    ):
        text, found = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert found, pattern
    return text
