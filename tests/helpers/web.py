"""A small web server for tests: ranges as asked, and the faults that servers have, one at a time."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class Site:
    """What is served and how; change it between requests.

    Attributes:
        folder: its files are served under their names.
        ranges: whether ranges are understood.
        validators: whether ETag and Last-Modified are sent.
        length: whether Content-Length is sent.
        cut_after: bytes of a body after which the connection breaks, for as many times as `cuts`.
        hold_after: bytes of a body after which the server says nothing more; 0 for never.
        failing: status codes for the next requests, such as 503.
        stale: send what another version would: If-Range never matches.
        seen: method, path and headers of every request.
    """

    folder: Path
    ranges: bool = True
    validators: bool = True
    length: bool = True
    kind: str = "application/octet-stream"
    cut_after: int = 0
    cuts: int = 0
    hold_after: int = 0
    failing: list[int] = field(default_factory=list)
    stale: bool = False
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def asked(self, header: str) -> list[str | None]:
        """That header in all GET requests."""
        return [headers.get(header.lower()) for method, _, headers in self.seen if method == "GET"]


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """Serve a folder on this machine while the body runs."""
    site = Site(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, site, body=True)

        def do_HEAD(self) -> None:
            _answer(self, site, body=False)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, site: Site, *, body: bool) -> None:
    headers = {name.lower(): value for name, value in handler.headers.items()}
    path = unquote(handler.path.split("?")[0])
    site.seen.append((handler.command, path, headers))
    file = site.folder / path.lstrip("/")
    if site.failing or not file.is_file():
        _refuse(handler, site.failing.pop(0) if site.failing else 404)
        return
    data = file.read_bytes()
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    start, stop = _wanted(headers, site, etag, len(data))
    if start > len(data) or (start == len(data) and "range" in headers and start):
        _refuse(handler, 416, f"bytes */{len(data)}")
        return
    part = data[start:stop]
    partial = site.ranges and "range" in headers and (start, stop) != (0, len(data))
    handler.send_response(206 if partial else 200)
    handler.send_header("Content-Type", site.kind)
    if partial:
        handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
    if site.validators:
        handler.send_header("ETag", etag)
        handler.send_header("Last-Modified", "Sat, 01 Jan 2022 00:00:00 GMT")
    if site.length:
        handler.send_header("Content-Length", str(len(part)))
    else:
        handler.send_header("Connection", "close")
        handler.close_connection = True
    handler.end_headers()
    if body:
        _send(handler, site, part)


def _wanted(headers: dict[str, str], site: Site, etag: str, size: int) -> tuple[int, int]:
    asked = headers.get("range", "")
    if not site.ranges or not asked.startswith("bytes="):
        return 0, size
    if site.stale or headers.get("if-range", etag) not in (etag, "Sat, 01 Jan 2022 00:00:00 GMT"):
        return 0, size
    first, _, last = asked.removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1, size) if last else size


def _send(handler: BaseHTTPRequestHandler, site: Site, part: bytes) -> None:
    if site.cuts and len(part) > site.cut_after:
        site.cuts -= 1
        handler.wfile.write(part[: site.cut_after])
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(2)
        return
    if site.hold_after and len(part) > site.hold_after:
        handler.wfile.write(part[: site.hold_after])
        handler.wfile.flush()
        while site.hold_after:
            time.sleep(0.01)
        return
    handler.wfile.write(part)


def _refuse(handler: BaseHTTPRequestHandler, status: int, content_range: str = "") -> None:
    handler.send_response(status)
    if content_range:
        handler.send_header("Content-Range", content_range)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
