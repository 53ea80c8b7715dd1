"""pypicloud's fallbacks, asked of a real one and of pypid with the same ``config.ini``: both
columns of the matrix are true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.compat.test_pypicloud_fallback import Row, rows
from tests.distributions import wheel, wheel_filename
from tests.live.daemon import LiveIndex
from tests.live.processes import scratch
from tests.live.pypicloud import Pypicloud, pypicloud, pypid_in_its_place
from tests.live.test_pypicloud_api import get, raw, upload

NAMES: Final = {
    (stored, read): f"{'stored' if stored else 'absent'}-{'open' if read else 'shut'}"
    for stored in (False, True)
    for read in (False, True)
}
"""A project for each case: whether it is stored, and whether others than alice may read it."""

COMMON: Final = {
    "pypi.default_read": "everyone",
    "pypi.default_write": "writers",
    "group.writers": "alice",
    "package.stored-shut.user.alice": "rw",
    "package.absent-shut.user.alice": "rw",
    "pypi.use_json_scraper": "true",
}
FALLBACKS: Final = {
    "none": {"pypi.fallback": "none"},
    "redirect": {"pypi.fallback": "redirect"},
    "redirect, always_show_upstream": {
        "pypi.fallback": "redirect",
        "pypi.always_show_upstream": "true",
    },
    "cache": {"pypi.fallback": "cache"},
    "cache, always_show_upstream": {"pypi.fallback": "cache", "pypi.always_show_upstream": "true"},
}


class Public(BaseHTTPRequestHandler):
    """A public index, which has everything: version 99.0 of it."""

    def do_GET(self) -> None:
        """Its Simple API, its JSON, its files."""
        found = re.match(
            r"/(?:simple/(?P<page>[^/]+)/|pypi/(?P<json>[^/]+)/json|files/(?P<file>[^/]+)/[^/]+)\Z",
            self.path,
        )
        if found is None:
            return self.send_error(404)
        self.server.heard.append(next(name for name in found.groups() if name))  # type: ignore[attr-defined]
        if found["page"]:
            name = found["page"]
            data = wheel(name, "99.0")
            link = f"/files/{name}/{wheel_filename(name, '99.0')}#sha256={sha256(data).hexdigest()}"
            return self.answer(
                "text/html",
                f"<!DOCTYPE html><a href='{link}'>{wheel_filename(name, '99.0')}</a>".encode(),
            )
        if found["json"]:
            name = found["json"]
            host = self.headers["Host"]
            file = {
                "url": f"http://{host}/files/{name}/{wheel_filename(name, '99.0')}",
                "requires_python": None,
            }
            document = {"info": {"summary": None}, "releases": {"99.0": [{**file, "digests": {}}]}}
            return self.answer("application/json", json.dumps(document).encode())
        return self.answer("application/octet-stream", wheel(found["file"], "99.0"))

    def answer(self, kind: str, body: bytes) -> None:
        """200."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def public() -> Iterator[ThreadingHTTPServer]:
    """It runs; ``heard`` are the names that it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Public)
    server.heard = []  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class FallbackTests(SynchronousTestCase):
    """Row by row."""

    def setUp(self) -> None:
        """A public index, and a folder for those that are put in front of it."""
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.theirs = self.stack.enter_context(public())
        self.base = f"http://127.0.0.1:{self.theirs.server_address[1]}"
        self.place = self.stack.enter_context(scratch())

    def settings_of(self, fallback: dict[str, str]) -> dict[str, str]:
        return {**COMMON, "pypi.fallback_base_url": self.base, **fallback}

    def ours(self, fallback: dict[str, str]) -> LiveIndex:
        """A pypid with these settings; what is to be stored is stored."""
        folder = self.place / f"ours{len(list(self.place.iterdir()))}"
        index = self.stack.enter_context(pypid_in_its_place(folder, self.settings_of(fallback)))
        self.fill(index)
        return index

    def fill(self, index: LiveIndex | Pypicloud) -> None:
        for read in (False, True):
            name = NAMES[True, read]
            filename = wheel_filename(name, "1.0")
            answer = raw(
                index.port, upload(f"/api/package/{name}/{filename}", filename, wheel(name, "1.0"))
            )
            self.assertEqual(answer.status, 200, answer)

    def kind_of(self, index: LiveIndex | Pypicloud, row: Row) -> str:
        """What is answered, by the words of the matrix."""
        name, user = NAMES[row.stored, row.read], "bob" if row.known else None
        answer = raw(index.port, get(f"/simple/{name}/", user))
        if answer.status != 200:
            if answer.status == 302:
                self.assertTrue((answer.location or "").startswith(self.base), answer)
            return str(answer.status)
        found = re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', answer.body.decode())
        links = {text: href for href, text in found}
        kinds = ["ours"] * (wheel_filename(name, "1.0") in links)
        theirs = wheel_filename(name, "99.0")
        if theirs in links:
            given = raw(index.port, get(f"/api/package/{name}/{theirs}", user))
            leads_there = links[theirs].startswith(self.base) or (given.location or "").startswith(
                self.base
            )
            if not leads_there:
                self.assertEqual((given.status, given.body), (200, wheel(name, "99.0")))
            kinds.append("links" if leads_there else "cached")
        return "+".join(kinds)

    def check(self, fallback: str) -> None:
        """Both answer what the matrix says of them."""
        for update in (
            (False, True) if "cache" in fallback else (True,)
        ):  # the others never look at it
            settings = FALLBACKS[fallback] | {
                "pypi.cache_update": "everyone" if update else "writers"
            }
            mine = [
                row
                for row in rows()
                if row.fallback == fallback
                and (row.update is update or not row.read or "cache" not in fallback)
            ]
            self.assertGreaterEqual(len(mine), 8)
            with pypicloud(self.place / f"theirs{update}", self.settings_of(settings)) as real:
                self.fill(real)
                found = {str(row): self.kind_of(real, row) for row in mine}
                self.assertEqual(found, {str(row): row.theirs for row in mine})
            ours = self.ours(settings)
            self.theirs.heard.clear()  # type: ignore[attr-defined]
            found = {str(row): self.kind_of(ours, row) for row in mine}
            self.assertEqual(found, {str(row): row.ours for row in mine})
            self.assertLessEqual(set(self.theirs.heard), {NAMES[False, True]})  # type: ignore[attr-defined]

    def test_none(self) -> None:
        """``none``."""
        self.check("none")

    def test_redirect(self) -> None:
        """``redirect``."""
        self.check("redirect")

    def test_redirect_always(self) -> None:
        """``redirect`` with ``always_show_upstream``."""
        self.check("redirect, always_show_upstream")

    def test_cache(self) -> None:
        """``cache``."""
        self.check("cache")

    def test_cache_always(self) -> None:
        """``cache`` with ``always_show_upstream``."""
        self.check("cache, always_show_upstream")

    def test_mirror(self) -> None:
        """pypid starts with ``fallback = mirror``, and answers its rows; the last pypicloud does
        not start with it.
        """
        settings = {"pypi.fallback": "mirror", "pypi.cache_update": "everyone"}
        with (
            self.assertRaises(AssertionError) as caught,
            pypicloud(self.place / "theirs", self.settings_of(settings)),
        ):
            pass
        self.assertIn("Invalid value for 'pypi.fallback'", str(caught.exception))
        mine = [row for row in rows() if row.fallback == "mirror" and (row.update or not row.read)]
        ours = self.ours(settings)
        self.assertEqual(
            {str(row): self.kind_of(ours, row) for row in mine},
            {str(row): row.ours for row in mine},
        )
