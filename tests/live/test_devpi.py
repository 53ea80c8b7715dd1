"""From a real devpi-server to pypid (docs/migrate/devpi): five indexes with inheritance over a mirror,
exported and imported; their pages, locks and former URLs.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.cli.test_import_devpi import ExportFolder
from tests.live.asking import command
from tests.live.clients import ROOT, client
from tests.live.daemon import (
    IndexTestCase,
    LiveIndex,
    Settings,
    configuration,
    pypid,
    until_ready,
)
from tests.live.devpi import JSON_PAGE, Devpi, devpi, export, make_server
from tests.live.isolation import fails, pip, twine, works
from tests.live.processes import BIN, done, files_below, free_port, running, scratch
from tests.live.projects import publish, sdist, wheel
from tests.live.test_install import NEWEST, installed
from tests.live.test_nginx_static import with_settings

LOCAL: Mapping[str, Set[str]] = {
    "ada/prod": {"lib", "shared", "hidden"},
    "ada/staging": {"lib", "shared", "hidden"},
    "ben/tools": {"shared", "fork"},
    "ben/dev": {"lib", "shared", "hidden", "fork"},
    "ada/alone": {"team-tool"},
}
"""The indexes, and the local projects that each shows."""
PROJECTS = ("lib", "shared", "fork", "open", "hidden", "docs-only", "team-tool")
PASSWORD = "rabbit-secret-of-ada"
Page = dict[str, tuple[str, Any]]


class DevpiCase(IndexTestCase):
    """A pypid as the public index, a devpi-server over it, and the pypid that replaces it."""

    def start(self) -> LiveIndex:
        """Start the stand-in of the public index; return it."""
        self.public = self.entered(pypid(self.entered(scratch()), Settings()))
        publish(
            self.public,
            wheel("open"),
            wheel("open", "1.5", extra=[("Requires-Dist", "fork")]),
            sdist("open", "2.0"),
            wheel("fork", "0.9"),
            wheel("fork", "2.0"),
            wheel("hidden", "99.0"),
        )
        command(self.public.config, "project", "yank", "open", "2.0", "--reason", "broken")
        return self.public

    def successor(self, folder: Path) -> LiveIndex:
        """Start the pypid that replaces the devpi-server."""
        upstream = f"url = {self.public.url()}\nmode = cache\nttl = 1s"
        return self.entered(pypid(folder, Settings(upstream=upstream)))

    def fill(self, server: Devpi) -> None:
        """Make users and indexes, and publish."""
        mirror = {"type": "mirror", "mirror_url": self.public.url()}
        server.put("/root/public", mirror, user="root")
        for user in ("ada", "ben"):
            server.make_user(user, PASSWORD)
        server.make_index("ada", "prod", bases=["root/public"], volatile=False)
        server.make_index("ada", "staging", bases=["ada/prod"], acl_upload=["ada", "ben"])
        server.make_index("ben", "tools", bases=["root/public"], mirror_whitelist=["fork"])
        server.make_index("ben", "dev", bases=["ada/staging", "ben/tools"])
        server.make_index("ada", "alone", bases=[])
        needs = [("Requires-Dist", "shared"), ("Requires-Dist", "open>=1.5")]
        for index, user, name, version, artifact in (
            ("ada/prod", "ada", "lib", "1.0", wheel("lib", "1.0", extra=needs)),
            ("ada/prod", "ada", "lib", "1.0", sdist("lib", "1.0")),
            ("ada/staging", "ben", "lib", "1.1", wheel("lib", "1.1", extra=needs)),
            ("ben/dev", "ben", "lib", "1.2.dev1", wheel("lib", "1.2.dev1", extra=needs)),
            ("ada/prod", "ada", "shared", "1.0", wheel("shared", "1.0")),
            ("ben/tools", "ben", "shared", "1.1", wheel("shared", "1.1")),
            ("ben/tools", "ben", "fork", "1.0", wheel("fork", "1.0")),
            ("ada/prod", "ada", "hidden", "1.0", wheel("hidden", "1.0")),
            ("ada/alone", "ada", "team-tool", "3.0", sdist("team-tool", "3.0")),
        ):
            server.publish(index, user, name, version, artifact)

    def page(self, url: str) -> Page:
        """The files of a project page with hashes and yanks; none if there is no such page."""
        request = Request(url, headers={"Accept": JSON_PAGE, "User-Agent": "test"})
        try:
            with urlopen(request, timeout=60) as answer:
                files = json.load(answer)["files"]
        except OSError as error:
            self.assertEqual(getattr(error, "code", None), 404, error)
            return {}
        return {
            each["filename"]: (each["hashes"]["sha256"], each.get("yanked", False))
            for each in files
        }

    def names(self, url: str) -> set[str]:
        """The names on a list of projects."""
        request = Request(url, headers={"Accept": JSON_PAGE, "User-Agent": "test"})
        with urlopen(request, timeout=60) as answer:
            return {project["name"] for project in json.load(answer)["projects"]}

    def lock(self, url: str, name: str) -> dict[str, tuple[str, set[str]]]:
        """The versions and hashes that uv locks for `lib` and `fork`."""
        project = self.folder / name
        project.mkdir()
        (project / "pyproject.toml").write_text(
            '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
            'dependencies = ["lib", "fork"]\n'
        )
        works([client("uv"), "lock", "--default-index", url], self.folder / "home", cwd=project)
        return {
            each["name"]: (each["version"], hashes_of(each))
            for each in tomllib.loads((project / "uv.lock").read_text())["package"]
        }


def report_in(printed: str) -> dict[str, Any]:
    """The report of an import, after the progress messages on standard error."""
    report: dict[str, Any] = json.loads(printed[printed.index("{") :])
    return report


def hashes_of(package: dict[str, Any]) -> set[str]:
    """The hashes of the files of a package in a lock."""
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
    return {file["hash"] for file in files}


@contextmanager
def redirecting(folder: Path, new: LiveIndex) -> Iterator[str]:
    """nginx before pypid, with the lines of the guide that redirect former URLs; its address."""
    folder.mkdir()
    guide = (ROOT / "docs/migrate/devpi.rst").read_text()
    _, _, lines = guide.partition(".. code-block:: nginx\n")
    lines, _, _ = lines.partition("\nAn index")
    port = free_port()
    settings = (
        f"server {{ listen 127.0.0.1:{port}; {lines}"
        f"location / {{ proxy_pass http://127.0.0.1:{new.port}; proxy_set_header Host $http_host; }} }}"
    )
    with running(with_settings(folder, settings), folder / "output") as process:
        process.until_answers(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/"


class MigrationTests(DevpiCase):
    """The whole way."""

    def test_pages_locks_and_former_urls(self) -> None:
        """Pages have the same files, hashes and yanks; uv locks the same; pip finds the former URLs;
        users log in and publish as before. A second import changes nothing.
        """
        folder = self.entered(scratch())
        server = make_server(folder)
        with devpi(folder, server) as there:
            self.fill(there)
            pages = {
                (index, project): self.page(there.url(f"/{index}/+simple/{project}/"))
                for index in LOCAL
                for project in PROJECTS
            }
            names = {index: there.names(index) for index in LOCAL}
            lock = self.lock(there.url("/ben/dev/+simple/"), "before")
            former = there.url()
        self.assertEqual(lock["lib"][0], "1.1")
        self.assertEqual(len(pages["ben/dev", "lib"]), 4)
        export(server, folder / "export")
        new = self.successor(self.entered(scratch()))
        self.dry_run(new, folder / "export")
        report = self.imported(new, folder / "export")
        self.assertEqual(
            {each["name"] for each in report["indexes"]},
            {*(name.replace("/", "-") for name in LOCAL), "root-public", "root-pypi"},
        )
        self.assertEqual((report["problems"], report["files"]), ([], []))
        for (index, project), expected in pages.items():
            if (index, project) == ("ben/tools", "hidden"):
                # a private name of any index is private in all
                self.assertEqual(self.page(new.url("/ben-tools/simple/hidden/")), {})
                continue
            name = index.replace("/", "-")
            found = self.page(new.url(f"/{name}/simple/{project}/"))
            self.assertEqual(found, expected, (index, project))
        for index, local in LOCAL.items():
            # devpi-server lists all names of the mirror, too
            self.assertLessEqual(local, names[index], index)
            found = self.names(new.url(f"/{index.replace('/', '-')}/simple/"))
            self.assertEqual(found - {"open"}, local, index)
        self.assertEqual(self.lock(new.url("/ben-dev/simple/"), "after"), lock)
        address = self.entered(redirecting(self.folder / "nginx", new))
        self.assertEqual(self.lock(f"{address}ben/dev/+simple/", "former"), lock)
        self.sync(former, address)
        line = pip(NEWEST, "install", f"{address}ada/prod/+simple/")
        works([*line, "--target", self.folder / "pip", "lib"], self.folder)
        self.assertEqual(
            installed(self.folder / "pip"), {"lib-1.0", "shared-1.0", "open-1.5", "fork-2.0"}
        )
        self.publish_as_before(new)
        again = self.imported(new, folder / "export")
        self.assertEqual([each["imported"] for each in again["indexes"]], [0] * 7)

    def sync(self, former: str, address: str) -> None:
        """Install with uv from the lock of devpi-server, as if pypid had its address."""
        project = self.folder / "before"
        lock = project / "uv.lock"
        text = lock.read_text()
        self.assertIn(f"{former}ada/staging/+f/", text)
        lock.write_text(text.replace(former, address))
        line = [
            client("uv"),
            "sync",
            "--frozen",
            "--no-install-project",
            "--python",
            sys.executable,
        ]
        works(line, self.folder / "other-home", cwd=project)
        (packages,) = project.glob(".venv/lib/python*/site-packages")
        self.assertIn("lib-1.1", installed(packages))

    def publish_as_before(self, new: LiveIndex) -> None:
        """Passwords, the users of ``acl_upload``, and the flag ``volatile`` are those of devpi."""

        def upload(index: str, user: str) -> list[str | Path]:
            path = wheel("extra", files={"extra.py": user.encode()}).into(self.folder / user)
            return twine(new.url(f"/{index}/legacy/"), user, PASSWORD, path)

        self.assertIn("403", fails(upload("ada-prod", "ben"), self.folder))
        works(upload("ada-prod", "ada"), self.folder)
        self.assertIn("403", fails(upload("root-public", "ada"), self.folder))
        works(upload("ada-staging", "ada"), self.folder)
        works(upload("ada-staging", "ben"), self.folder)  # it is volatile
        self.assertEqual(len(self.page(new.url("/ben-dev/simple/extra/"))), 1)

    def dry_run(self, new: LiveIndex, folder: Path) -> None:
        """Nothing is imported."""
        line = [BIN / "pypid", "storage", "import-devpi", folder, "-c", new.config, "--dry-run"]
        out = done(line)
        self.assertIn("ada/prod -> ada-prod (new): 4 files", out)
        listed = json.loads(command(new.config, "index", "list", "--json"))
        self.assertEqual(listed["indexes"], [])

    def imported(self, new: LiveIndex, folder: Path) -> dict[str, Any]:
        """Import the export; the report."""
        return report_in(command(new.config, "storage", "import-devpi", str(folder), "--json"))


class InterruptedTests(IndexTestCase):
    """A pypid that is killed during an import."""

    FILES = 150

    def start(self) -> LiveIndex:
        folder = self.entered(scratch())
        (folder / "pypid.ini").write_text(configuration(folder, free_port(), Settings()))
        self.config = folder / "pypid.ini"
        return self.serve()

    def serve(self) -> LiveIndex:
        """Start pypid."""
        folder, port = self.config.parent, int(self.config.read_text().split("tcp:")[1][:5])
        line = [BIN / "pypid", "serve", "--config", self.config]
        index = LiveIndex(folder, port, False, self.entered(running(line, folder / "log")))
        until_ready(index)
        return index

    def test_killed_server(self) -> None:
        """The index stays closed, and shows all files after the next run."""
        exported = ExportFolder(self.folder / "export")
        exported.have_index("ada/prod", bases=["root/public"])
        exported.have_index("root/public", type="mirror", mirror_url="https://pypi.org/simple/")
        for number in range(self.FILES):
            exported.have_file("ada/prod", f"tool-{number % 3}", f"1.{number}")
        line = [BIN / "pypid", "storage", "import-devpi", exported.write(), "-c", self.config]
        part = self.config.parent / "state/packages/.pypid/index/ada-prod"
        with running(line, self.folder / "import.log") as importing:
            deadline = time.monotonic() + 60
            while len(files_below(part)) < self.FILES and time.monotonic() < deadline:
                time.sleep(0.01)
            self.index.running.process.send_signal(signal.SIGKILL)
            self.assertNotEqual(importing.process.wait(60), 0)
        self.index.running.process.wait(60)
        index = self.serve()
        page = index.url("/ada-prod/simple/tool-0/")
        with self.assertRaises(HTTPError) as refused:
            urlopen(page, timeout=60)
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()
        report = report_in(done([*line, "--json"]))
        (found,) = [each for each in report["indexes"] if each["name"] == "ada-prod"]
        self.assertEqual(found["imported"] + found["existing"], self.FILES)
        self.assertGreater(found["imported"], 0)
        self.assertGreater(found["existing"], 0)
        for number in range(3):
            url = index.url(f"/ada-prod/simple/tool-{number}/")
            with urlopen(Request(url, headers={"Accept": JSON_PAGE}), timeout=60) as answer:
                self.assertEqual(len(json.load(answer)["files"]), self.FILES // 3)
        done([BIN / "pypid", "storage", "check", "--hashes", "-c", self.config])
