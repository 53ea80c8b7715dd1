"""What a start does not import: what the first page can do without is imported when it is
needed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

import pypid
from pypid.access.passwords import _NOBODYS
from pypid.web.app.route_table import FILES, SIMPLE, RouteTable, modules_for
from tests.web.routes import ALL_ROUTES

SOURCE = Path(pypid.__file__).parent

NOT_FOR_A_PAGE = (
    *("treq", "twisted.web.client", "twisted.web._newclient"),  # an HTTP client
    *(
        "jwt",
        "cryptography.hazmat.primitives.ciphers.aead",
        "cryptography.hazmat.primitives.kdf",
    ),  # tokens, seals
    *(
        "packaging.metadata",
        "packaging.licenses",
        "packaging.requirements",
        "packaging.markers",
        "packaging.pylock",
    ),
    *("html.parser", "tomllib", "trove_classifiers"),
    *("prometheus_client", "pypid.metrics.exposition", "pypid.web.api.metrics"),
    *(
        "boto3",
        "botocore",
        "ldap",
        "psycopg",
        "pypi_attestations",
        "sigstore",
        "txredisapi",
    ),  # extras
    *("passlib.handlers", "hypothesis", "twisted.trial"),
    *(
        "pypid.daemon.control",
        "pypid.core.simple_api.parse_html",
        "pypid.web.installers.services",
    ),
    *(
        "readme_renderer",
        "docutils",
        "pygments",
        "nh3",
        "comrak",
        "pypid.rendering.render",
    ),  # of the child
    *("argon2", "packaging.specifiers", "concurrent.futures.thread"),
    *(
        "pypid.upstream.indexes",
        "pypid.http_client.connections",
        "pypid.resolver.uv",
        "pypid.jobs.stateless_node",
        "pypid.access.oidc",
    ),
    *(
        "pypid.core.archives.inspection",
        "pypid.core.archives.zips",
        "pypid.core.packaging.requirements",
        "pypid.index.local.adoption",
        "pypid.index.local.storage_check",
    ),
    *(
        "pypid.web.api.projects",
        "pypid.web.api.accounts",
        "pypid.web.installers.uploads",
    ),  # see pypid.web.app.route_table
)
"""Modules (with what is below them); some are not even installed everywhere."""

START = """
import os, socket, sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from pypid.wiring.platform import load_config
from pypid.wiring.platform import Platform
from pypid.wiring.recipe import make_daemon

daemon = make_daemon(load_config(Path("pypid.ini")), Platform(reactor, dict(os.environ)))

def ask(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"GET /simple/ HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n"
            b"Accept-Encoding: gzip\\r\\nConnection: close\\r\\n\\r\\n"
        )
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer

def ask_until_complete(port):
    # a list waits until the storage has been compared
    answer = ask(port)
    while b" 503 " in answer.split(b"\\r\\n")[0]:
        time.sleep(0.1)
        answer = ask(port)
    print(answer.split(b"\\r\\n")[0].decode(), *sys.modules, sep="\\n", flush=True)

def run():
    asked = deferToThread(ask_until_complete, daemon._ports[0].getHost().port)
    asked.addBoth(lambda _: daemon.stopService()).addBoth(lambda _: reactor.stop())

daemon.startService()  # as all entry points do: before the reactor runs
reactor.callWhenRunning(run)
reactor.run()
"""


class StartTests(SynchronousTestCase):
    """A process of its own, from nothing to the first page."""

    def test_imports(self) -> None:
        """None of the modules that a page needs not are there when one was answered; a mirror of an
        index is no exception.
        """
        for mode in ("offline", "cache"):
            made = TemporaryDirectory()  # its path is short: there is a socket in it
            self.addCleanup(made.cleanup)
            folder = Path(made.name)
            (folder / "pypid.ini").write_text(
                f"[server]\nlisten = tcp:0:interface=127.0.0.1\n[upstream]\nmode = {mode}\n"
                # else a first password is made, and hashed
                f"[access]\nadmins = bob\n[users]\nbob = {_NOBODYS}\n"
            )
            command = [sys.executable, "-c", START]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
            )
            said = done.stdout.splitlines()
            self.assertIn("HTTP/1.1 200 OK", said, done.stderr)
            modules = set(said)
            found = {
                name
                for name in NOT_FOR_A_PAGE
                for module in modules
                if module == name or module.startswith(f"{name}.")
            }
            self.assertEqual(found, set())
            self.assertIn("pypid.web.installers.simple", modules)

    def test_modules_for_a_request(self) -> None:
        """The modules that a request is said to need have all routes that it may match: none is
        missed while the others are not imported.
        """
        paths = ("simple/", "simple/x/", "simple/x/json", "packages/x/y", "health", "ready")
        for method, path in (
            *(("GET", path) for path in (*paths, "metrics")),
            ("POST", "legacy/"),
        ):
            needed = modules_for(method.encode(), path.encode())
            assert needed is not None, path
            some = RouteTable(needed)
            for name in needed:
                some.add(sys.modules[name])
            self.assertTrue(some.is_complete)
            request = path.encode(), method.encode()
            self.assertEqual(some.match(*request)[0], ALL_ROUTES.match(*request)[0])
        elsewhere = {
            each.path
            for each in ALL_ROUTES
            if each.handler.__module__ != SIMPLE
            and each.method == "GET"
            and each.path.startswith("/simple/")
        }
        self.assertEqual(elsewhere, set())
        others = {
            each.path
            for each in ALL_ROUTES
            if each.path.startswith("/packages/")
            and each.path.count("/") == 3
            and each.method == "GET"
            and each.handler.__module__ != FILES
        }
        self.assertEqual(others, set())
        variable = {
            each.path
            for each in ALL_ROUTES
            if each.path.startswith("/<") and each.path.count("/") > 2
        }
        self.assertEqual(variable, set())

    def test_every_module_with_routes_is_listed(self) -> None:
        """The table lists all modules that declare routes, and no other."""
        declaring = {
            f"pypid.{'.'.join(path.relative_to(SOURCE).with_suffix('').parts)}"
            for path in SOURCE.rglob("*.py")
            if "\n@route(" in path.read_text()
        }
        self.assertEqual(set(ALL_ROUTES.modules), declaring)
