"""etc/nginx-published.conf: real nginx in front of a real pypid whose index is exported as files; pip, uv
and twine come through it.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import define, evolve

from tests.core.simple_api.test_negotiation import CLIENTS
from tests.live.asking import Answered, ask, basic
from tests.live.clients import ROOT, tool
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, pypid, stop
from tests.live.isolation import Ended, pip, run, twine, uv, works
from tests.live.processes import BIN, clean_environ, done, free_port, running, scratch
from tests.live.projects import Artifact, publish, sdist, wheel
from tests.live.test_install import NEWEST, installed

SHIPPED = ROOT / "etc/nginx-published.conf"
SETTINGS = Settings(server="trusted_proxies = 127.0.0.1\nmax_upload = 4M\n")
JSON = "application/vnd.pypi.simple.v1+json"
GZIP = {"Accept-Encoding": "gzip"}
OWN = {
    "date",
    "server",
    "connection",
    "etag",
    "last-modified",
    "content-length",
    "x-pypi-last-serial",
    "x-request-id",
}
"""Header fields in which two servers may differ. Of pages nginx sends no serial, and an entity tag
of its own.
"""
NUMBER = re.compile(rb"request \w+")
"""What each request is called, on pages that tell of an error."""
FORMAT = 'log_format tested "$http_x_number $upstream_addr"; access_log {} tested;'


FIRST = "default                             pypid;"
"""What answers pages in the shipped file."""
CERTIFICATE = "/etc/nginx/fullchain.pem"
KEY = "/etc/nginx/key.pem"


def configured(
    folder: Path, tree: Path, behind: int, port: int, changed: Mapping[str, str]
) -> list[str | Path]:
    """The command that runs nginx with the shipped file, of which only the values that it names are replaced.

    It sends pages of the tree first, and speaks no TLS, unless `changed` says so.
    """
    text = SHIPPED.read_text()
    values = {
        "listen 80;": f"listen unix:{folder}/plain;",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port};",
        f"    ssl_certificate {CERTIFICATE};\n": "",
        f"    ssl_certificate_key {KEY};\n": "",
        FIRST: "default tree;",
        "/srv/index;": f"{tree};",
        "server 127.0.0.1:6543;": f"server 127.0.0.1:{behind};",
    }
    for old, new in {**values, **changed}.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "pypid.conf").write_text(text)
    log = FORMAT.format(folder / "access")
    return with_settings(folder, f"{log} include {folder}/pypid.conf;")


def with_settings(folder: Path, settings: str) -> list[str | Path]:
    """The command that runs nginx with these settings of its http block."""
    paths = "".join(
        f"{what}_temp_path {folder / what};"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;\n"
        f"events {{}}\nhttp {{ {paths} {settings} }}\n"
    )
    return [
        tool("nginx", "nginx-light"),
        "-p",
        folder,
        "-e",
        folder / "errors",
        "-c",
        folder / "nginx.conf",
    ]


@define
class Front:
    """An nginx that runs."""

    port: int
    folder: Path
    tree: Path
    index: LiveIndex
    asked: int = 0

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
    ) -> Answered:
        """One request."""
        self.asked += 1
        return ask(self.port, path, {**(headers or {}), "X-Number": str(self.asked)}, method=method)

    def alone(self) -> bool:
        """Whether nginx answered the last request without asking pypid. It logs a moment after it
        has answered.
        """
        for _ in range(500):
            for line in (self.folder / "access").read_text().splitlines():
                number, _, behind = line.partition(" ")
                if number == str(self.asked):
                    return behind == "-"
            time.sleep(0.01)
        raise AssertionError("nginx has not logged the last request")

    def export(self, *options: str) -> None:
        """Export the index into the tree."""
        command = [BIN / "pypid", "export", "--config", self.index.config]
        done([*command, "--copy-files", "--delete", *options, self.tree])

    def check(self, path: str, text: str) -> None:
        """Export the index; the page in the tree holds `text`."""
        self.export()
        answered = self.ask(path, {"Accept": "text/html"})
        if answered.status != 200 or text not in answered.text or not self.alone():
            raise AssertionError(f"{path} does not say {text}: {answered.status} {answered.text}")


@contextmanager
def fronted(
    folder: Path, index: LiveIndex, changed: Mapping[str, str] | None = None
) -> Iterator[Front]:
    """nginx before the index, which is exported into its folder ``tree``."""
    port, tree = free_port(), index.folder / "tree"
    folder.mkdir(exist_ok=True)
    with running(
        configured(folder, tree, index.port, port, changed or {}), folder / "output"
    ) as process:
        process.until_answers(f"http://127.0.0.1:{port}/health")
        yield Front(port, folder, tree, index)


class FrontCase(IndexTestCase):
    """nginx in front of the shared pypid."""

    settings = SETTINGS

    def setUp(self) -> None:
        super().setUp()
        self.front = self.entered(fronted(self.folder / "nginx", self.index))

    def published(self, name: str, *artifacts: Artifact) -> str:
        """The path of the page of a new project, which is in the tree."""
        wanted = artifacts or (wheel(name, metadata_bytes=None), sdist(name))
        publish(self.index, *wanted)
        for artifact in wanted:
            self.front.check(f"/simple/{name}/", artifact.filename)
        self.front.check("/simple/", f">{name}<")
        return f"/simple/{name}/"

    def same(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        alone: bool | None = None,
    ) -> Answered:
        """What both answer."""
        ours, direct = (
            self.front.ask(path, headers, method=method),
            ask(self.index.port, path, headers, method=method),
        )
        bodies = [NUMBER.sub(b"", one.body) for one in (ours, direct)]
        self.assertEqual((ours.status, bodies[0]), (direct.status, bodies[1]), (path, headers))
        said, wanted = (set(one.headers.items()) for one in (ours, direct))
        self.assertEqual(
            {name for name, _ in said ^ wanted if name.lower() not in OWN}, set(), (path, headers)
        )
        if alone is not None:
            self.assertIs(self.front.alone(), alone, (path, headers))
        return ours

    def install(self, name: str) -> None:
        url = f"http://127.0.0.1:{self.front.port}/simple/"
        works(pip(NEWEST, "install", url, "--target", self.folder / "pip", name), self.folder)
        works(uv(url, "--no-cache", "--target", self.folder / "uv", name), self.folder)
        self.assertEqual(
            installed(self.folder / "pip") | installed(self.folder / "uv"),
            {f"{name.replace('-', '_')}-1.0"},
        )


class NegotiationTests(FrontCase):
    def test_clients(self) -> None:
        """What clients send is answered from the tree, with pypid's bytes, type and header fields:
        the list, and a page.
        """
        path = self.published("nx-clients")
        for who, (accept, format) in CLIENTS.items():
            for page in path, "/simple/":
                said = self.same(page, {} if accept is None else {"Accept": accept}, alone=True)
                self.assertEqual(said.headers["Content-Type"], format.value, who)
                self.assertEqual(said.headers["Vary"], "Accept, Accept-Encoding")


class TreeTests(FrontCase):
    def test_files(self) -> None:
        """Files and metadata have pypid's bytes, types and header fields; parts of them
        can be had.
        """
        self.published("nx-files")
        for name in (
            "nx_files-1.0.tar.gz",
            "nx_files-1.0-py2.py3-none-any.whl",
            "nx_files-1.0-py2.py3-none-any.whl.metadata",
        ):
            said = self.same(f"/packages/nx-files/{name}", GZIP, alone=True)
            self.assertIn("immutable", said.headers["Cache-Control"])
            self.assertNotIn("Content-Encoding", said.headers)
            self.assertEqual(
                said.headers["Last-Modified"],
                ask(self.index.port, f"/packages/nx-files/{name}").headers["Last-Modified"],
            )
            part = self.front.ask(f"/packages/nx-files/{name}", {"Range": "bytes=3-9"})
            self.assertEqual((part.status, part.body), (206, said.body[3:10]))
            again = self.front.ask(
                f"/packages/nx-files/{name}", {"If-None-Match": said.headers["ETag"]}
            )
            self.assertEqual((again.status, again.body), (304, b""))
        self.same("/packages/nx-files/nx_files-1.0.tar", alone=False)

    def test_people(self) -> None:
        """The site is pypid's: its first page, feeds, search and all the rest, with pypid's bytes,
        policy and cache control; so is the list of projects for whoever is logged in. Nothing that
        is personal comes from the tree.
        """
        self.published("nx-people")
        for path in (
            "/rss/updates.xml",
            "/rss/project/nx-people/releases.xml",
            "/simple/?format=text/html",
        ):
            self.same(path, {"Host": "nx.example"}, alone=False)
        for path in (
            "/",
            "/search",
            "/project/nx-people/",
            "/account/login",
            "/manage/",
            "/upload",
            "/account/",
        ):
            said = self.front.ask(path, {"Accept": "text/html"})
            self.assertIn(said.status, (200, 303), path)
            self.assertFalse(self.front.alone(), path)
            self.assertRegex(said.headers["Cache-Control"], "no-store|private", path)
            if said.status == 200:
                self.assertIn("form-action 'self'", said.headers["Content-Security-Policy"])
                self.assertEqual(len(said.headers.get_all("Content-Security-Policy")), 1)
        self.front.ask("/simple/", {"Cookie": "a=b; __Host-pypid_session=x"})
        self.assertFalse(self.front.alone())
        self.front.ask("/simple/", {"Cookie": "a=b"})
        self.assertTrue(self.front.alone())

    def test_hidden(self) -> None:
        """What is the tree's own is nobody's: whose it is, files that are being written, anything
        with a dot.
        """
        self.published("nx-hidden")
        secrets = (
            ".pypid-export.json",
            "simple/nx-hidden/.index.html.1.new",
            ".pypid-incoming/1.1",
            "packages/nx-hidden/.x",
        )
        for path in secrets:
            file = self.front.tree / path
            file.parent.mkdir(exist_ok=True)
            if not file.exists():
                file.write_text("secret")
            secret = file.read_text()
            for spelling in (
                path,
                path.replace(".", "%2e"),
                f"simple/../{path}",
                f"packages/nx-hidden/..%2f../{path}",
            ):
                said = self.front.ask(f"/{spelling}")
                self.assertIn(said.status, (400, 404), spelling)
                self.assertNotIn(secret, said.text)
        for folder in (
            "/packages/nx-hidden/",
            "/packages/",
            "/packages/nx-hidden",
            "/pypi/nx-hidden/",
            "/rss/",
        ):
            self.assertNotIn(b"Index of", self.front.ask(folder).body)


class RightsTests(FrontCase):
    """A project that only carol and administrators may read."""

    settings = evolve(SETTINGS, sections="[projects]\nnx-secret.user.carol = r\n")

    def test_rights(self) -> None:
        """A project that not everybody may read is not in the tree; who may read it gets it through
        nginx all the same.
        """
        publish(self.index, wheel("nx-secret"), user="admin")
        self.published("nx-open")
        self.assertEqual(self.front.ask("/simple/nx-secret/").status, 401)
        self.assertNotIn("nx-secret", self.front.ask("/simple/").text)
        self.assertFalse((self.front.tree / "simple/nx-secret").exists())
        carol = basic("carol")
        self.assertEqual(self.front.ask("/simple/nx-secret/", carol).status, 200)
        self.assertIn("nx-secret", self.front.ask("/simple/", carol).text)
        self.assertEqual(
            self.front.ask("/packages/nx-secret/nx_secret-1.0-py2.py3-none-any.whl", carol).status,
            200,
        )


def upload(front: Front, folder: Path, *files: Path) -> Ended:
    """twine upload through nginx."""
    url = f"http://127.0.0.1:{front.port}/legacy/"
    return run([*twine(url, "alice", PASSWORDS["alice"], *files), "--verbose"], folder)


class ClientTests(FrontCase):
    def test_upload(self) -> None:
        """twine publishes through nginx, also what is large; a wrong password, and what is too
        large, are refused by pypid.
        """
        large = wheel("nx-upload", files={"noise": os.urandom(3 << 20)})
        said = upload(self.front, self.folder, large.into(self.folder))
        self.assertEqual(said.status, 0, said.said)
        self.front.check("/simple/nx-upload/", large.filename)
        self.assertEqual(self.front.ask(f"/packages/nx-upload/{large.filename}").body, large.data)
        said = self.front.ask("/legacy/", basic("alice", "wrong"), method="POST")
        self.assertEqual(
            (said.status, said.text), (401, "The user name or the password is wrong.\n")
        )
        huge = wheel("nx-upload", "2.0", files={"noise": os.urandom(9 << 20)})
        said = upload(self.front, self.folder, huge.into(self.folder))
        self.assertNotEqual(said.status, 0)
        self.assertIn("413", said.said)


class StoppedTests(FrontCase):
    """pypid is stopped, and started again; it has a folder of its own."""

    def start(self) -> LiveIndex:
        folder = self.entered(scratch())
        return self.entered(pypid(folder, evolve(SETTINGS, server=SETTINGS.server + " ")))

    def test_stopped(self) -> None:
        """pip and uv go on installing what was published; the rest is a clear 503 until pypid is
        there again.
        """
        self.published("nx-stopped")
        first = self.entered(
            fronted(
                self.folder / "first",
                self.index,
                {FIRST: FIRST},
            )
        )
        stop(self.index)
        self.install("nx-stopped")
        for front in self.front, first:
            for accept, format in CLIENTS.values():
                said = front.ask(
                    "/simple/nx-stopped/", {} if accept is None else {"Accept": accept}
                )
                self.assertEqual((said.status, said.headers["Content-Type"]), (200, format.value))
                self.assertEqual(said.headers["Cache-Control"], "no-cache")
            said = front.ask("/pypi/nx-stopped/json")
            self.assertEqual((said.status, said.headers["Content-Type"]), (200, "application/json"))
            for path, kind, word in (
                ("/", "html", "filter.js"),
                ("/rss/updates.xml", "xml", "<rss"),
                ("/filter.js", "", ""),
            ):
                said = front.ask(path, {"Accept": "text/html"})
                self.assertEqual(said.status, 200, path)
                self.assertIn(kind, said.headers["Content-Type"])
                self.assertIn(word, said.text)
            self.assertIn("script-src 'self'", front.ask("/").headers["Content-Security-Policy"])
            self.assertEqual(front.ask("/project/nx-stopped/").status, 503)
            said = front.ask(
                "/simple/", {"Accept": f"{JSON};q=0.4, text/html;q=0.2", **basic("alice")}
            )
            self.assertEqual((said.status, said.headers["Content-Type"]), (200, JSON))
        for path in (
            "/simple/nx-nobody/",
            "/simple/NX.Stopped/",
            "/packages/nx-nobody/x-1.0.tar.gz",
            "/api/projects/",
            "/.pypid-export.json",
        ):
            said = self.front.ask(path)
            self.assertEqual(
                (said.status, said.headers["Content-Type"]),
                (503, "text/plain; charset=utf-8"),
                path,
            )
            self.assertEqual(
                (said.headers["Retry-After"], said.headers["Cache-Control"]), ("5", "no-store")
            )
            said = self.front.ask(path, {"Accept": "application/json;q=0.9, text/plain;q=0.8"})
            self.assertEqual(
                (said.status, said.headers["Content-Type"], said.json["title"]),
                (503, "application/json", "Service Unavailable"),
            )
        file = wheel("nx-again").into(self.folder)
        refused = upload(self.front, self.folder, file)
        self.assertNotEqual(refused.status, 0)
        self.assertIn("503", refused.said)
        self.assertIn("not running or is starting", refused.said)
        self.goes_on(file)

    def goes_on(self, file: Path) -> None:
        command = [
            BIN / "twistd",
            "--nodaemon",
            "--pidfile=",
            "pypid",
            "--config",
            self.index.config,
        ]
        with running(
            command, self.index.folder / "again", cwd=self.index.folder, environ=clean_environ()
        ) as process:
            process.until_answers(self.index.url("/ready"))
            accepted = upload(self.front, self.folder, file)
            self.assertEqual(accepted.status, 0, accepted.said)
            self.front.check("/simple/nx-again/", file.name)
            self.front.check("/simple/nx-stopped/", "nx_stopped-1.0")
