"""What a start does not import: whatever the first page can do without is brought when somebody
needs it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.passwords import _NOBODYS
from pypid.web.app import all_routes, root
from pypid.web.app.guard import guarded_routes
from pypid.web.installers import simple

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
    *("csv", "html.parser", "tomllib", "trove_classifiers", "xmlrpc"),
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
        "pypid.testing",
        "pypid.web.installers.xmlrpc",
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
        "pypid.access.remote",
    ),
    *(
        "pypid.core.archives.inspection",
        "pypid.core.archives.zips",
        "pypid.core.packaging.collection",
        "pypid.index.local.adoption",
        "pypid.index.local.storage_check",
    ),
    *(
        "pypid.web.app.all_routes",
        "pypid.web.api.projects",
        "pypid.web.api.users",
        "pypid.web.installers.uploads",
    ),  # see pypid.web.app.root
)
"""Modules (with what is below them); some are not even installed everywhere."""

START = """
import os, socket, sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from pypid.wiring.configuration import load_config
from pypid.wiring.platform import Platform
from pypid.wiring.recipe import make_daemon

daemon = make_daemon(load_config(Path("pypid.ini")), Platform(reactor, dict(os.environ)))

def ask(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /simple/ HTTP/1.1\\r\\nHost: x\\r\\nAccept-Encoding: gzip\\r\\nConnection: close\\r\\n\\r\\n")
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
    daemon.startService()
    asked = deferToThread(ask_until_complete, daemon._ports[0].getHost().port)
    asked.addBoth(lambda _: daemon.stopService()).addBoth(lambda _: reactor.stop())

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

    def test_first_rooms(self) -> None:
        """What is got below the paths of the first rooms has its route in them: none is missed
        while the others are closed.
        """
        got = [
            route
            for route in guarded_routes(all_routes.routes)
            if "GET" in route.methods and route.does is not None
        ]
        pages = {
            route.does.__module__
            for route in got
            if route.rule.startswith(f"/{root.PAGES.decode()}")
        }
        self.assertEqual(pages, {simple.__name__})
        files = [route for route in got if route.rule.startswith(f"/{root.FILES.decode()}")]
        of_files = {
            route.does.__module__ for route in files if route.rule.count("/") == root.DEPTH + 1
        }
        health = {
            route.does.__module__ for route in got if route.rule == f"/{root.HEALTH.decode()}"
        }
        self.assertEqual(of_files | health, set(root.SOON))
        variable = {
            route.rule for route in got if route.rule.startswith("/<") and route.rule.count("/") > 2
        }
        self.assertEqual(variable, set())
        self.assertEqual(root.LATER[-1], all_routes.__name__)

    def test_modules_come_one_by_one(self) -> None:
        """The last module that is imported later brings no other of pypid's with it: it would hold
        up the reactor for a quarter of a second.
        """
        code = (
            "import sys\n"
            "from importlib import import_module\n"
            "from pypid.web.app.root import LATER, SOON, UPLOADS\n"
            "for name in (*SOON, *UPLOADS, *LATER[:-1]):\n"
            "    import_module(name)\n"
            "before = set(sys.modules)\n"
            "import_module(LATER[-1])\n"
            "print(*(name for name in sys.modules if name not in before and 'pypid' in name))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
        self.assertEqual(done.stdout.split(), [all_routes.__name__])
