"""Real clients at the addresses that pypicloud had: pages of links, index URLs, and scripts with curl's form."""

from __future__ import annotations

import json
import shutil
from unittest import SkipTest

from tests.live.clients import client
from tests.live.daemon import PASSWORDS, IndexTestCase, for_each
from tests.live.isolation import pip, uv, works
from tests.live.projects import call, publish, wheel
from tests.live.test_install import installed

INSTALLERS = ("pip-9-on-2.7", "pip-20-on-3.8", "pip-on-3.13")


class PlacesTests(IndexTestCase):
    """Index URLs and pages of links."""

    @for_each(*INSTALLERS)
    def installs(self, name: str) -> None:
        """This pip installs with the index's own address, and with ``/pypi/``, for its index URL;
        and from ``/packages/`` as a page of links alone.
        """
        project = "pp-" + name.replace(".", "-")
        artifact = wheel(project)
        publish(self.index, artifact, wheel(project, "1.1", requires_python=">=99"))
        for number, path in enumerate(("/", "/pypi/")):
            target = self.folder / f"target{number}"
            works(
                pip(name, "install", self.index.url(path), "--target", target, project), self.folder
            )
            self.assertEqual(len(installed(target)), 1)
        self.answered("GET", f"/{project}/", agent="pip/")
        self.answered("GET", f"/pypi/{project}/", agent="pip/")
        target = self.folder / "linked"
        command = [
            client(name).with_name("python"),
            "-m",
            "pip",
            "install",
            "--no-cache-dir",
            "--no-index",
        ]
        works(
            [*command, "--find-links", self.index.url("/packages/"), "--target", target, project],
            self.folder,
        )
        self.assertEqual(len(installed(target)), 1)

    def test_uv(self) -> None:
        """So does uv."""
        publish(self.index, wheel("pp-uv"))
        for number, path in enumerate(("/", "/pypi/")):
            works(
                uv(self.index.url(path), "--target", self.folder / str(number), "pp-uv"),
                self.folder,
            )
        fixed = [
            client("uv"),
            "pip",
            "install",
            "--no-config",
            "--no-index",
            "--target",
            self.folder / "linked",
        ]
        works([*fixed, "--find-links", self.index.url("/packages/"), "pp-uv"], self.folder)
        self.assertEqual(len(installed(self.folder / "linked")), 1)


class ScriptTests(IndexTestCase):
    """What people have in scripts."""

    def test_curl(self) -> None:
        """The lines of pypicloud's documentation work as they stand there: a file is published,
        listed, had and deleted.
        """
        found = shutil.which("curl")
        if found is None:
            raise SkipTest("there is no curl on this machine")
        path = wheel("pc-curl").into(self.folder)
        at = self.index.url(f"/api/package/pc-curl/{path.name}")
        curl = [
            found,
            "--silent",
            "--show-error",
            "--user",
            f"admin:{PASSWORDS['admin']}",
            "--write-out",
            "\n%{http_code}",
        ]
        said, status = works([*curl, "-F", f"content=@{path}", at], self.folder).rsplit("\n", 1)
        self.assertEqual((status, json.loads(said)["filename"]), ("200", path.name))
        self.assertEqual(
            works([*curl, "-F", f"content=@{path}", at], self.folder).rsplit("\n", 1)[1], "409"
        )
        form = [
            "-F",
            ":action=file_upload",
            "-F",
            "name=pc-curl",
            "-F",
            "version=1.0",
            "-F",
            f"content=@{path}",
        ]
        self.assertEqual(
            works([*curl, *form, self.index.url("/simple/")], self.folder).rsplit("\n", 1)[1], "200"
        )
        listed = json.loads(call(self.index, "GET", "/api/package/pc-curl/", user="admin"))
        self.assertEqual(
            ([each["filename"] for each in listed["packages"]], listed["write"]),
            ([path.name], True),
        )
        self.assertIn("pc-curl", json.loads(call(self.index, "GET", "/api/package/"))["packages"])
        self.assertEqual(
            call(self.index, "GET", f"/api/package/pc-curl/{path.name}"), path.read_bytes()
        )
        self.assertEqual(works([*curl, "-X", "DELETE", at], self.folder).rsplit("\n", 1)[1], "200")
        self.assertEqual(works([*curl, "-X", "DELETE", at], self.folder).rsplit("\n", 1)[1], "400")

    def test_uploaders(self) -> None:
        """twine and uv publish at all addresses that pypicloud took uploads at, and take its JSON
        for what it is.
        """
        for number, path in enumerate(("/", "/simple/", "/pypi/", "/pypi")):
            for tool in ("twine", "twine-6.1", "uv"):
                name = f"pc-{tool.replace('.', '-')}-{number}"
                artifact = wheel(name).into(self.folder / name)
                where, who = self.index.url(path), ("alice", PASSWORDS["alice"])
                if tool == "uv":
                    command = [
                        client("uv"),
                        "publish",
                        "--publish-url",
                        where,
                        "-u",
                        who[0],
                        "-p",
                        who[1],
                        artifact,
                    ]
                else:
                    command = [
                        client(tool),
                        "upload",
                        "--verbose",
                        "--repository-url",
                        where,
                        "-u",
                        who[0],
                        "-p",
                        who[1],
                        artifact,
                    ]
                works(command, self.folder)
                self.assertIn(artifact.name.encode(), call(self.index, "GET", f"/simple/{name}/"))
