"""Collecting, with the real uv and a real index behind: over HTTP and by the command, running,
stopped and offline.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from pypid.resolver.uv import find_uv
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid, shared
from tests.live.isolation import Ended, run, works
from tests.live.processes import BIN
from tests.live.projects import call, publish, sdist, wheel

MANY: Final = "py2.py3-none-any"
LINES: Final = "application/x-ndjson"


def needs(*lines: str, extras: str = "") -> dict[str, Any]:
    """For a wheel: what it depends on, and an extra that it has."""
    provided = [("Provides-Extra", extras)] if extras else []
    return {"extra": [*provided, *(("Requires-Dist", line) for line in lines)]}


def tree(index: LiveIndex) -> None:
    """A little tree of projects: dependencies with markers, extras, circles, releases for one
    platform only, and an sdist.
    """
    publish(
        index,
        wheel("app", "1.0", **needs("lib<2")),
        wheel(
            "app",
            "2.0",
            **needs(
                "lib>=1", 'win-only>1; sys_platform == "win32"', 'old; python_version < "3.12"'
            ),
        ),
        wheel("lib", "1.0", **needs("round")),
        wheel("lib", "1.5", **needs("round")),
        wheel("lib", "2.0", tag="cp312-cp312-manylinux_2_17_x86_64"),
        wheel("lib", "2.0", tag="cp312-cp312-win_amd64"),
        wheel("lib", "3.0b1"),
        wheel("round", "1.0", **needs("lib")),
        wheel("win-only", "2.0"),
        wheel("old", "1.0"),
        wheel("old", "1.1", requires_python=">=3.13"),
        wheel("many", "1.0", **needs('extra-part; extra == "part"', extras="part")),
        wheel("extra-part", "1.0"),
        wheel("late", "1.0", tag="cp312-cp312-manylinux_2_34_x86_64"),
        wheel("late", "0.9"),
        sdist("source-only", "1.0"),
        wheel("needs-source", "1.0", **needs("source-only")),
    )


PLATFORMS: Final = (
    "linux",
    "windows",
    "macos",
    "x86_64-manylinux_2_34",
    "aarch64-unknown-linux-musl",
)


class CollectCase(IndexTestCase):
    """A pypid that may be stopped, in front of one that all tests share."""

    maxDiff = None

    def setUp(self) -> None:
        if find_uv() is None:
            raise SkipTest("uv is not installed here")
        super().setUp()

    def start(self) -> LiveIndex:
        self.upstream = behind()
        self.place = self.folder / "pypid"
        self.place.mkdir()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        return self.stack.enter_context(pypid(self.place, self.settings_of("cache")))

    def settings_of(self, mode: str, more: str = "") -> Settings:
        return Settings(
            upstream=f"mode = {mode}\nurl = {self.upstream.url()}\n{more}",
            access="collect = everyone",
        )

    def again(self, mode: str, more: str = "") -> None:
        """The same pypid, started anew with other settings."""
        self.stack.close()
        self.index = self.stack.enter_context(pypid(self.place, self.settings_of(mode, more)))
        self.since = 0

    def post(
        self, document: dict[str, Any], accept: str = "application/json", user: str | None = None
    ) -> str:
        return call(
            self.index,
            "POST",
            "/requirements.txt",
            json.dumps(document).encode(),
            user=user,
            accept=accept,
        ).decode()

    def collect(self, requirements: str, **more: Any) -> Any:
        return json.loads(self.post({"requirements": requirements, **more}))

    def command(self, *words: str | Path) -> Ended:
        return run(
            [BIN / "pypid", "cache", "fetch", "--config", self.index.config, *words], self.folder
        )

    def nothing_left(self) -> None:
        """No folder of a resolver, and no password of one in the log."""
        self.assertEqual(list((self.place / "state").rglob("collect-*")), [])
        self.assertNotIn("collecting:", self.index.log())


def behind() -> LiveIndex:
    """The other index."""
    index = shared(Settings(storage=None))
    if "app" not in json.loads(call(index, "GET", "/api/projects"))["projects"]:
        tree(index)
    return index


def compiled(url: str, folder: Path, requirements: str, platform: str, python: str) -> list[str]:
    """What ``uv pip compile`` says itself."""
    program = find_uv()
    assert program is not None
    command = [
        program,
        "pip",
        "compile",
        "--no-config",
        "--no-build",
        "--quiet",
        "--no-header",
        "--no-annotate",
    ]
    command += ["--system-certs", "-"]  # a machine may have authorities of its own
    command += ["--default-index", url, "--python", sys.executable]
    command += ["--python-platform", platform, "--python-version", python]
    return sorted(works(command, folder, said=requirements).split())


class AnswerTests(CollectCase):
    REQUIREMENTS = "app\nmany[part]\nlate\nround; sys_platform != 'nowhere'\n"

    def test_as_uv(self) -> None:
        """For each platform and Python it is what uv finds itself, and uv installs it from what is
        kept, upstream or not.
        """
        answer = self.collect(self.REQUIREMENTS, platform=PLATFORMS, python=["3.12", "3.13"])
        self.assertEqual((answer["failed"], answer["complete"]), ([], True))
        self.assertEqual(len(answer["targets"]), len(PLATFORMS) * 2)
        for each in answer["targets"]:
            expected = compiled(
                self.upstream.url(),
                self.folder,
                self.REQUIREMENTS,
                each["platform"],
                each["python"],
            )
            self.assertEqual(each["releases"], expected, each)
        self.nothing_left()
        self.again("offline")
        for platform, python in (
            ("linux", "3.12"),
            ("windows", "3.12"),
            ("macos", "3.13"),
            ("x86_64-manylinux_2_34", "3.12"),
        ):
            target = self.folder / f"{platform}-{python}"
            command = [
                find_uv() or "",
                "pip",
                "install",
                "--no-config",
                "--default-index",
                self.index.url(),
            ]
            command += [
                "--python",
                sys.executable,
                "--python-platform",
                platform,
                "--python-version",
                python,
            ]
            works([*command, "--target", target, "app", "many[part]", "late"], self.folder)
            self.assertTrue((target / "lib.py").exists() and (target / "extra_part.py").exists())

    def test_lock(self) -> None:
        """What uv writes as pylock.toml is collected file by file, with its hashes."""
        program = find_uv()
        assert program is not None
        command = [
            program,
            "pip",
            "compile",
            "--no-config",
            "--quiet",
            "--format",
            "pylock.toml",
            "--python",
            sys.executable,
        ]
        command += [
            "--default-index",
            self.upstream.url(),
            "--universal",
            "--python-version",
            "3.12",
            "-",
        ]
        lock = works(command, self.folder, said="app\nmany[part]\n")
        answer = json.loads(
            self.post({"pylock.toml": lock, "platform": ["linux", "windows"], "python": "3.12"})
        )
        self.assertEqual((answer["failed"], answer["complete"]), ([], True))
        self.assertIn(f"win_only-2.0-{MANY}.whl", answer["cached"])
        windows = next(each for each in answer["targets"] if each["platform"] == "windows")
        self.assertEqual(
            windows["releases"],
            ["app==2.0", "extra-part==1.0", "lib==2.0", "many==1.0", "win-only==2.0"],
        )


class CommandTests(CollectCase):
    def test_running_and_stopped(self) -> None:
        """pypid cache fetch works on a running pypid and on a stopped one; its status tells whether all
        is here.
        """
        file = self.folder / "requirements.txt"
        file.write_text("app\n")
        ended = self.command("-r", file, "--python", "3.12", "--json")
        self.assertEqual((ended.status, json.loads(ended.said)["complete"]), (0, True), ended.said)
        file.write_text("app\nmany\nnowhere\n")
        ended = self.command("-r", file, "--python", "3.12")
        self.assertEqual(ended.status, 1)
        for words in "had     app-2.0", "kept    many-1.0", "not cached: nowhere", "1 of 3: ":
            self.assertIn(words, ended.said)
        self.stack.close()
        ended = self.command("-r", file, "--python", "3.12")
        self.assertEqual(ended.status, 1)
        self.assertIn("had     many-1.0", ended.said)
        self.assertNotIn("Traceback", ended.said)
