"""Reading from an index that strangers may not read: each way in which pip, uv and poetry carry a
password.
"""

import json
import os
from pathlib import Path

from tests.live.clients import client
from tests.live.daemon import PASSWORDS, IndexTestCase, Settings, for_each
from tests.live.isolation import fails, pip, uv, works
from tests.live.projects import publish, wheel
from tests.live.test_install import NEWEST, installed

PRIVATE = Settings(read="authenticated")


class ReadingCase(IndexTestCase):
    settings = PRIVATE

    def publish_one(self, name: str) -> str:
        """Publish a wheel of a project of that name; the path of the file."""
        artifact = wheel(name)
        publish(self.index, artifact)
        return f"/packages/{name}/{artifact.filename}"

    def netrc(self, user: str) -> Path:
        """A .netrc in the home of the clients."""
        path = self.folder / ".netrc"
        path.write_text(f"machine 127.0.0.1\nlogin {user}\npassword {PASSWORDS[user]}\n")
        path.chmod(0o600)
        return path

    def keyring(self, user: str) -> str:
        """A PATH on which lies a `keyring` that knows that user."""
        path = self.folder / "bin/keyring"
        path.parent.mkdir()
        as_json = json.dumps({"username": user, "password": PASSWORDS[user]})
        path.write_text(
            f"""#!/bin/sh
            case "$*" in
            *--output=json*) echo '{as_json}';;
            "get "*" {user}") echo '{PASSWORDS[user]}';;
            *) exit 1;;
            esac"""
        )
        path.chmod(0o755)
        return f"{path.parent}{os.pathsep}/usr/bin:/bin"

    def arrived(self, path: str, agent: str) -> None:
        """It is installed, and pypid gave it."""
        self.assertEqual(len(installed(self.folder / "t")), 1)
        self.answered("GET", path, agent=agent)


class PipTests(ReadingCase):
    @for_each("pip-9-on-3.6", "pip-20-on-2.7", "pip-23-on-3.11", NEWEST)
    def url(self, name: str) -> None:
        """A name and a password in the URL let this pip install (C92)."""
        project = "url-" + name.replace(".", "-")
        path = self.publish_one(project)
        works(
            pip(
                name,
                "install",
                self.index.url(user="alice"),
                "--target",
                self.folder / "t",
                project,
            ),
            self.folder,
        )
        self.arrived(path, "pip/")

    def test_difficult_password(self) -> None:
        """A password with a colon and what is not ASCII, quoted in the URL, lets pip install (C92,
        C93).
        """
        path = self.publish_one("pip-difficult")
        command = pip(
            NEWEST,
            "install",
            self.index.url(user="carol"),
            "--target",
            self.folder / "t",
            "pip-difficult",
        )
        works(command, self.folder)
        self.arrived(path, "pip/")

    @for_each("pip-9-on-2.7", "pip-20-on-3.8", NEWEST)
    def netrc_file(self, name: str) -> None:
        """A .netrc lets this pip install (C92)."""
        project = "netrc-" + name.replace(".", "-")
        path = self.publish_one(project)
        self.netrc("alice")
        works(
            pip(name, "install", self.index.url(), "--target", self.folder / "t", project),
            self.folder,
        )
        self.arrived(path, "pip/")

    def test_keyring(self) -> None:
        """With --keyring-provider subprocess pip asks `keyring` after the 401, and then installs
        (C90, C92).
        """
        path = self.publish_one("pip-keyring")
        options = ("--keyring-provider", "subprocess", "--target", self.folder / "t", "pip-keyring")
        url = self.index.url().replace("http://", "http://alice@")
        works(pip(NEWEST, "install", url, *options), self.folder, PATH=self.keyring("alice"))
        self.arrived(path, "pip/")

    def test_anonymous(self) -> None:
        """Without a password pip asks for one, as only a 401 makes it do, and installs with it
        (C90).
        """
        path = self.publish_one("pip-anonymous")
        command = pip(
            NEWEST, "install", self.index.url(), "--target", self.folder / "t", "pip-anonymous"
        )
        self.assertIn("No matching distribution", fails(command, self.folder))
        self.answered("GET", "/simple/pip-anonymous/", status=401, agent="pip/")
        said = works(command, self.folder, said=f"alice\n{PASSWORDS['alice']}\n", PIP_NO_INPUT="")
        self.assertIn("User for 127.0.0.1", said)
        self.arrived(path, "pip/")

    def test_wrong_password(self) -> None:
        """With a wrong password pip shows the 401 (C91)."""
        self.publish_one("pip-wrong")
        url = self.index.url().replace("http://", "http://alice:wrong@")
        said = fails(
            pip(NEWEST, "install", url, "--target", self.folder / "t", "pip-wrong"), self.folder
        )
        self.assertIn("401", said)


class UvTests(ReadingCase):
    @for_each("alice", "carol")
    def url(self, user: str) -> None:
        """A name and a password in the URL let uv install, also one with a colon and what is not
        ASCII (C92, C93).
        """
        project = f"uv-url-{user}"
        path = self.publish_one(project)
        works(uv(self.index.url(user=user), "--target", self.folder / "t", project), self.folder)
        self.arrived(path, "uv/")

    def test_environment(self) -> None:
        """UV_INDEX_<NAME>_USERNAME and _PASSWORD let uv install, also a difficult password (C92,
        C93).
        """
        path = self.publish_one("uv-environment")
        command = uv(f"ours={self.index.url()}", "--target", self.folder / "t", "uv-environment")
        works(
            command,
            self.folder,
            UV_INDEX_OURS_USERNAME="carol",
            UV_INDEX_OURS_PASSWORD=PASSWORDS["carol"],
        )
        self.arrived(path, "uv/")

    def test_netrc(self) -> None:
        """A .netrc lets uv install: it asks without a password first, and again after the 401 (C90,
        C92).
        """
        path = self.publish_one("uv-netrc")
        netrc = self.netrc("alice")
        works(
            uv(self.index.url(), "--target", self.folder / "t", "uv-netrc"),
            self.folder,
            NETRC=str(netrc),
        )
        self.answered("GET", "/simple/uv-netrc/", status=401, agent="uv/")
        self.arrived(path, "uv/")

    def test_keyring(self) -> None:
        """With --keyring-provider subprocess uv asks `keyring` after the 401, and then installs
        (C90, C92).
        """
        path = self.publish_one("uv-keyring")
        url = self.index.url().replace("http://", "http://alice@")
        command = uv(
            url, "--keyring-provider", "subprocess", "--target", self.folder / "t", "uv-keyring"
        )
        works(command, self.folder, PATH=self.keyring("alice"))
        self.arrived(path, "uv/")

    def test_anonymous(self) -> None:
        """Without a password uv says that the index asks for one (C90)."""
        self.publish_one("uv-anonymous")
        said = fails(
            uv(self.index.url(), "--target", self.folder / "t", "uv-anonymous"), self.folder
        )
        self.assertIn("lack of valid authentication credentials (401 Unauthorized)", said)


class PoetryTests(ReadingCase):
    @for_each("alice", "carol")
    def http_basic(self, user: str) -> None:
        """http-basic credentials let poetry lock and install, also a password with a colon and what
        is not ASCII (C92, C93).
        """
        name = f"poetry-{user}"
        path = self.publish_one(name)
        project = self.folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(
            f'[project]\nname = "eater"\nversion = "1"\nrequires-python = '
            f'">=3.11,<4"\ndependencies = ["{name}"]\n'
            "[tool.poetry]\npackage-mode = false\n"
            f'[[tool.poetry.source]]\nname = "ours"\nurl = "{self.index.url()}"\npriority = '
            f'"primary"\n'
        )
        credentials = {
            "POETRY_HTTP_BASIC_OURS_USERNAME": user,
            "POETRY_HTTP_BASIC_OURS_PASSWORD": PASSWORDS[user],
        }
        works(
            [client("poetry"), "install", "--no-interaction"],
            self.folder,
            cwd=project,
            **credentials,
        )
        (site,) = project.glob(".venv/lib/python3*/site-packages")
        self.assertEqual(installed(site), {f"poetry_{user}-1.0"})
        self.answered("GET", path, agent="poetry/")
