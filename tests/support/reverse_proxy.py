"""A reverse proxy that mounts a service under a path, as nginx's `location /tickets/` does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.http_servers import Quiet, serving


@contextmanager
def reverse_proxy(upstream: str, prefix: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Run it until the block ends; gives the URL under which it mounts the upstream.

    Args:
        upstream: the URL that paths below the prefix are passed to, without the prefix.
        prefix: such as `/tickets`. What is not below it is answered with 404.
        headers: replace those of the client.
    """
    to = urlsplit(upstream)

    class Handler(Quiet, BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = HTTPConnection(to.hostname or "", to.port, timeout=30)
            sent = dict(self.headers.items()) | {"Connection": "close"} | dict(headers)
            connection.request(self.command, self.path[len(prefix) :], body or None, sent)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = do_PATCH = do_DELETE = pass_on  # noqa: N815 # http.server's names

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield f"{url}{prefix}"
