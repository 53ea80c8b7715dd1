"""``/local/`` and pypicache's addresses with the clients that people have: pip, uv and curl."""

import json
import shutil
from pathlib import Path
from typing import Final
from unittest import SkipTest

from tests.live.daemon import IndexTestCase, LiveIndex, Settings, for_each, pypid, stop
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import scratch
from tests.live.projects import Artifact, call, listed, publish, sdist, wheel

NEWEST: Final = "pip-on-3.11"
OLD: Final = "pip-20-on-3.8"


class LocalTests(IndexTestCase):
    """A pypid in front of another one, which has theirs in two versions; ours needs theirs."""

    def start(self) -> LiveIndex:
        self.theirs = self.entered(pypid(self.entered(scratch()), Settings()))
        publish(self.theirs, wheel("lo-theirs"), sdist("lo-source"), wheel("lo-other"))
        upstream = f"mode = cache\nurl = {self.theirs.url()}"
        index = self.entered(pypid(self.entered(scratch()), Settings(upstream=upstream)))
        publish(
            index,
            wheel(
                "lo-ours", extra=[("Requires-Dist", "lo-theirs"), ("Requires-Dist", "lo-source")]
            ),
        )
        return index

    def test_upstream_stopped(self) -> None:
        """What was installed once is installed from /local/ alone while upstream is stopped, by pip
        and by uv; what was not kept is not there.
        """
        works(
            pip(NEWEST, "install", self.index.url(), "--target", self.folder / "first", "lo-ours"),
            self.folder,
        )
        publish(self.theirs, wheel("lo-theirs", "2.0"))  # newer, and nobody has wanted it
        stop(self.theirs)
        since = self.index.log_size()
        local = self.index.url("/local/")
        for name, command in (
            ("pip", pip(NEWEST, "install", local)),
            ("old", pip(OLD, "install", local)),
            ("uv", uv(local, "--no-cache")),
        ):
            works([*command, "--target", self.folder / name, "lo-ours"], self.folder)
            found = sorted(path.name for path in (self.folder / name).glob("*.dist-info"))
            self.assertEqual(
                found, [f"lo_{what}-1.0.dist-info" for what in ("ours", "source", "theirs")]
            )
            fails([*command, "--target", self.folder / "none", "lo-other"], self.folder)
            fails([*command, "--target", self.folder / "none", "lo-theirs==2.0"], self.folder)
        answers = self.index.answers(since)
        self.assertEqual({answer.path.split("/")[1] for answer in answers}, {"local"})
        self.assertEqual({answer.status for answer in answers if "other" not in answer.path}, {200})
        page = json.loads(
            call(self.index, "GET", "/local/", accept="application/vnd.pypi.simple.v1+json")
        )
        self.assertEqual(
            [project["name"] for project in page["projects"]], ["lo-ours", "lo-source", "lo-theirs"]
        )


class PypicacheTests(IndexTestCase):
    """pypicache's documentation, word for word."""

    def curl(self, *arguments: str | Path) -> str:
        """What curl prints."""
        found = shutil.which("curl")
        if found is None:
            raise SkipTest("there is no curl on this machine")
        return works([found, "--silent", "--show-error", *arguments], self.folder)

    def artifact(self, name: str) -> Artifact:
        """A file of its kind."""
        return {"sdist": sdist, "wheel": wheel}[name.rpartition("-")[2]](name)

    @for_each("sdist", "wheel")
    def form(self, kind: str) -> None:
        """``curl -F sdist=@file`` publishes, and pip and uv install it."""
        name = f"pc-form-{kind}"
        path = self.artifact(name).into(self.folder)
        url = self.index.url("/uploadpackage/", "alice")
        for _ in range(2):
            self.assertEqual(
                json.loads(self.curl("-X", "POST", "-F", f"sdist=@{path}", url)), {"uploaded": "ok"}
            )
        self.assertEqual(listed(self.index, name), [path.name])
        works(
            pip(NEWEST, "install", self.index.url("/local"), "--target", self.folder / "pip", name),
            self.folder,
        )
        works(uv(self.index.url("/local"), "--target", self.folder / "uv", name), self.folder)

    def test_put(self) -> None:
        """``curl -X PUT --data-binary @file`` and ``curl -T file`` publish, and what was put is
        got.
        """
        for name, options in (
            ("pc-binary", ("-X", "PUT", "--data-binary")),
            ("pc-upload", ("-T",)),
        ):
            path = sdist(name).into(self.folder)
            place = f"/packages/source/p/{name}/{path.name}"
            value = path if options == ("-T",) else f"@{path}"
            self.assertEqual(
                self.curl(*options, value, self.index.url(place, "alice")), '{"uploaded":"ok"}'
            )
            got = self.folder / f"{name}.got"
            self.curl("-o", got, self.index.url(place))
            self.assertEqual(got.read_bytes(), path.read_bytes())
            works(
                pip(NEWEST, "install", self.index.url(), "--target", self.folder / name, name),
                self.folder,
            )
