"""The index as files: exported by a real pypid, and served without any."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import BIN, done, free_port, running, scratch
from tests.live.projects import call, manage, publish, sdist, wheel
from tests.live.stores import store

NEWEST: Final = "pip-on-3.11"
J, H = "application/vnd.pypi.simple.v1+json", "text/html"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """``python -m http.server`` for a folder; its URL."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        folder,
    ]
    with scratch() as logs, running(command, logs / "log") as process:
        url = f"http://127.0.0.1:{port}"
        process.until_answers(f"{url}/simple/")
        yield url


class ExportCase(IndexTestCase):
    """A pypid whose index is exported."""

    def start(self) -> LiveIndex:
        return self.entered(pypid(self.entered(scratch()), Settings(access="backend = config sql")))

    def export(self, *arguments: str | Path, status: int = 0) -> str:
        """What it printed."""
        return done(
            [BIN / "pypid", "export", "--config", self.index.config, *arguments], status=status
        )


class ServedTests(ExportCase):
    """What comes of a tree that only a web server has (C117)."""

    def test_installed(self) -> None:
        """pip and uv install out of it while there is no pypid (C117)."""
        publish(
            self.index,
            wheel("static-ours", extra=[("Requires-Dist", "static-lib>=1")]),
            sdist("static-lib"),
        )
        publish(self.index, wheel("static-lib", "2.0"))
        manage(self.index, "PUT", "static-lib/releases/2.0/yank", reason="bad")
        self.export("--copy-files", self.folder / "tree")
        self.index.running.stop()
        with served(self.folder / "tree") as url:
            works(
                pip(
                    NEWEST,
                    "install",
                    f"{url}/simple/",
                    "--target",
                    self.folder / "pip",
                    "static-ours",
                ),
                self.folder,
            )
            works(
                [
                    *uv(f"{url}/simple/", "--no-cache"),
                    "--target",
                    self.folder / "uv",
                    "static-ours",
                ],
                self.folder,
            )
            for name in ("pip", "uv"):
                found = sorted(path.name for path in (self.folder / name).glob("*.dist-info"))
                self.assertEqual(found, ["static_lib-1.0.dist-info", "static_ours-1.0.dist-info"])
            fails(
                pip(
                    NEWEST,
                    "install",
                    f"{url}/simple/",
                    "--target",
                    self.folder / "no",
                    "static-none",
                ),
                self.folder,
            )


class BucketTests(ExportCase):
    """A tree in a bucket, beside the files of the index."""

    def start(self) -> LiveIndex:
        self.s3 = self.entered(store())
        self.bucket = self.s3.bucket()
        told = {
            "backend": "s3",
            "bucket": self.bucket,
            "prefix": "files/",
            "region": self.s3.region,
            "endpoint_url": self.s3.endpoint,
            "access_key": self.s3.access_key,
            "secret_key": self.s3.secret_key,
        }
        settings = Settings(bucket="\n".join(f"{key} = {value}" for key, value in told.items()))
        return self.entered(pypid(self.entered(scratch()), settings))

    def got(self, key: str) -> Any:
        """What the store has there."""
        return self.s3.ask("GET", f"/{self.bucket}/tree/{key}")

    def test_exported(self) -> None:
        """An export has the types that browsers and installers know; the next one removes what was
        deleted.
        """
        target = f"s3://{self.bucket}/tree"
        ours = wheel("pail")
        publish(self.index, ours, wheel("pail", "2.0"))
        self.export("--copy-files", target)
        self.assertIn(b"pail-2.0", self.got("simple/pail/index.html").body)
        for accept, page in ((J, "index.json"), (H, "index.html")):
            self.assertIn(b"pail", self.got(f"simple/{page}").body)
            found = self.got(f"simple/pail/{page}")
            self.assertEqual(found.body, call(self.index, "GET", "/simple/pail/", accept=accept))
            self.assertTrue(found.headers["content-type"].startswith(accept), found.headers)
            self.assertNotIn("content-disposition", found.headers)
        self.assertEqual(self.got(f"packages/pail/{ours.filename}").body, ours.data)
        manage(self.index, "DELETE", f"pail/files/{ours.filename}")
        self.export("--copy-files", "--delete", target)
        self.assertEqual(self.got(f"packages/pail/{ours.filename}").status, 404)
        self.assertNotIn(ours.filename.encode(), self.got("simple/pail/index.json").body)

    def test_signed(self) -> None:
        """Signed links lead to the files of the index in its bucket."""
        ours = wheel("signed")
        publish(self.index, ours)
        tree = self.folder / "signed"
        self.export("--signed-links", tree)
        [file] = json.loads((tree / "simple/signed/index.json").read_bytes())["files"]
        with urlopen(file["url"]) as answer:
            self.assertEqual(answer.read(), ours.data)
