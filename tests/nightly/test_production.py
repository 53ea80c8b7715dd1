"""docs/operate/production.rst, run as it is written: the Debian package under systemd, an S3 store, nginx with TLS."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.certificates import Authority
from tests.live.clients import OURS, ROOT, client
from tests.live.debian import Machine, machine, need_root_and_tools
from tests.live.isolation import environ
from tests.live.processes import done, free_port, scratch
from tests.live.projects import wheel
from tests.live.stores import store
from tests.nightly.test_deb import package

PAGE: Final = ROOT / "docs/operate/production.rst"
SERVER: Final = "On the server"
CLIENT: Final = "On a client"
NO_START: Final = "#!/bin/sh\nexit 101\n"
"""A policy-rc.d: the package does not start its service, whose default port another test may use."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Caption and content of each block of the page that has a caption, in order."""
    found: list[tuple[str, str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith(".. code-block::"):
            continue
        body = []
        for later in lines[number + 1 :]:
            if later and not later.startswith("   "):
                break
            body.append(later)
        caption = body[0].strip().removeprefix(":caption:").strip()
        assert body[0].strip().startswith(":caption:"), line
        found.append((caption, textwrap.dedent("\n".join(body[1:])).strip() + "\n"))
    return found


class NoProjects(BaseHTTPRequestHandler):
    """An upstream index without projects."""

    def do_GET(self) -> None:
        """Answer the list of projects, and 404 for each project."""
        body = b"<!DOCTYPE html><html><body></body></html>"
        self.send_response(200 if self.path == "/simple/" else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def empty_upstream() -> Iterator[str]:
    """The URL of an upstream index without projects."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoProjects)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    server.server_close()


class ProductionTests(SynchronousTestCase):
    def setUp(self) -> None:
        need_root_and_tools()
        made = scratch()
        self.folder = made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        self.port, self.behind = free_port(), free_port()

    def test_page(self) -> None:
        """Every block of the page does what the page says, in the order of the page."""
        with store() as s3, machine(self.folder) as debian, empty_upstream() as upstream:
            values = {
                "https://packages.example.org": f"https://localhost:{self.port}",
                "@packages.example.org/": f"@localhost:{self.port}/",
                "packages.example.org": "localhost",
                "listen = tcp:6543:": f"listen = tcp:{self.behind}:",
                "bucket = acme-packages": f"bucket = {s3.bucket('production')}",
                "https://s3.example.org": s3.endpoint,
                "region = eu-central-1": f"region = {s3.region}",
                "AKIAEXAMPLE": s3.access_key,
                "replace-this-secret-key": s3.secret_key,
                "source = osv ": "source = ",
                "mode = cache\n": f"mode = cache\nurl = {upstream}\n",
            }
            self.prepare(debian)
            self.run_page(debian, values)
            self.check(debian)

    def prepare(self, debian: Machine) -> None:
        """What the page requires before it begins."""
        shutil.copy(package(), debian.root / "root")
        policy = debian.root / "usr/sbin/policy-rc.d"
        policy.write_text(NO_START)
        policy.chmod(0o755)
        nginx = debian.root / "etc/nginx"
        authority = Authority()
        authority.issue(nginx / "fullchain.pem", nginx / "key.pem")
        self.trusted = authority.pem(self.folder)
        self.client = self.folder / "client"
        wheel("acme-data-models").into(self.client / "dist")

    def run_page(self, debian: Machine, values: Mapping[str, str]) -> None:
        """Run the blocks with these values in place of the page's."""
        page = blocks(PAGE.read_text())
        for old in values:
            assert any(old in body for _, body in page), old
        for caption, body in page:
            for old, new in values.items():
                body = body.replace(old, new)
            if caption == SERVER:
                self.on_the_server(debian, body)
            elif caption == CLIENT:
                for token in (debian.root / "root").glob("*.token"):
                    shutil.copy(token, self.client)
                self.on_a_client(body)
            else:
                (debian.root / caption.removeprefix("/")).write_text(body)

    def on_the_server(self, debian: Machine, body: str) -> None:
        """Run a block as root."""
        if body.startswith("apt install"):
            debian.run("sh", "-c", "dpkg --install /root/pypid-server_*.deb")
            debian.run("systemctl", "start", "nginx")
            example = debian.root / "usr/share/doc/pypid-server/examples/nginx.conf"
            text = example.read_text()
            text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
            example.write_text(text.replace("127.0.0.1:6543", f"127.0.0.1:{self.behind}"))
            return
        debian.run("sh", "-ec", f"cd /root\n{body}")

    def on_a_client(self, body: str) -> None:
        """Run a block as a user of another machine, who trusts the certificate's authority."""
        programs = (client("twine"), client(f"pip-on-{OURS}"))
        path = ":".join([*(str(program.parent) for program in programs), "/usr/bin:/bin"])
        trust = dict.fromkeys(
            ("CURL_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), str(self.trusted)
        )
        done(
            ["bash", "-ec", body], cwd=self.client, environ=environ(self.client, PATH=path, **trust)
        )

    def check(self, debian: Machine) -> None:
        """The package is installed, the bucket has the file, the backup is there, and no program failed."""
        self.assertTrue((self.client / "smoke-test/acme_data_models.py").exists())
        self.assertFalse((debian.root / "var/lib/pypid/packages").exists())
        self.assertTrue((debian.root / "var/backups/pypid/accounts.db").exists())
        self.assertIn("acme-data-models", debian.run("pypid", "project", "list"))
        self.assertNotIn("Traceback", debian.journal())
        self.assertEqual(debian.run("systemctl", "--failed", "--plain", "--no-legend").strip(), "")
