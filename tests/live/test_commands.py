"""The `pypid` commands as an operator types them, on a running pypid and on a stopped one, and what
clients see afterwards.
"""

import re
from pathlib import Path

from tests.live.daemon import (
    PASSWORDS,
    IndexTestCase,
    LiveIndex,
    Settings,
    configuration,
    pypid,
    shared,
)
from tests.live.isolation import Ended, fails, pip, run, twine, uv, works
from tests.live.processes import BIN, free_port
from tests.live.projects import Artifact, call, manage, page, publish, sdist, wheel
from tests.live.test_install import NEWEST, installed


class CommandCase(IndexTestCase):
    """One pypid for each test: they stop it, or ask it to compare all."""

    settings = Settings()
    maxDiff = None

    def start(self) -> LiveIndex:
        self.place = self.folder / "pypid"
        self.place.mkdir()
        return self.entered(pypid(self.place, self.settings))

    def pypid(self, *words: str | Path) -> str:
        """What the command said; it works."""
        return works([BIN / "pypid", *words, "--config", self.place / "pypid.ini"], self.folder)

    def refuses(self, *words: str | Path) -> str:
        """What the command said; it fails, and without a traceback."""
        said = fails([BIN / "pypid", *words, "--config", self.place / "pypid.ini"], self.folder)
        self.assertNotIn("Traceback", said)
        return said


def manages(case: CommandCase) -> None:
    """Each command once, in an order that makes sense."""
    case.assertEqual(
        case.pypid("project", "yank", "tool", "1.0", "--reason", "leaks"),
        "tool-1.0-py2.py3-none-any.whl: yanked\n",
    )
    case.assertEqual(
        case.pypid("project", "unyank", "tool", "1.0"),
        "tool-1.0-py2.py3-none-any.whl: no longer yanked\n",
    )
    case.assertEqual(
        case.pypid("project", "yank", "Tool", "tool-2.0.tar.gz"), "tool-2.0.tar.gz: yanked\n"
    )
    case.assertEqual(
        case.pypid("project", "set-status", "tool", "deprecated", "--reason", "see other"),
        "tool: now deprecated\n",
    )
    case.assertEqual(
        case.pypid("project", "delete", "tool", "1.0", "--yes"),
        "tool-1.0-py2.py3-none-any.whl: deleted\n",
    )
    case.assertEqual(case.pypid("project", "delete", "gone", "--yes"), "gone-1.0.tar.gz: deleted\n")
    case.assertEqual(case.pypid("project", "unreserve", "gone"), "gone: released\n")
    case.assertIn(
        "There is no project 'nowhere'", case.refuses("project", "yank", "nowhere", "1.0")
    )
    case.assertIn("tool", case.refuses("project", "unreserve", "tool"))


class ManageTests(CommandCase):
    def publish_some(self) -> None:
        """Two releases of one project, and another to be deleted."""
        publish(self.index, wheel("tool"), sdist("tool", "2.0"), sdist("gone"))

    def check(self, index: LiveIndex) -> None:
        """What all of `manages` leaves."""
        left = page(index, "tool")
        self.assertEqual(left["project-status"], {"status": "deprecated", "reason": "see other"})
        self.assertEqual(
            [(file["filename"], file["yanked"]) for file in left["files"]],
            [("tool-2.0.tar.gz", True)],
        )
        self.assertNotIn(b"gone", call(index, "GET", "/simple/"))

    def test_running(self) -> None:
        """yank, unyank, status, delete and release-name change a running pypid at once, and say
        what they did (C28, C30).
        """
        self.publish_some()
        manages(self)
        self.check(self.index)
        self.assertIn(
            "deleted", fails(self.upload(wheel("tool", requires_python=">=3")), self.folder)
        )

    def upload(self, artifact: Artifact) -> list[str | Path]:
        """The command that publishes it."""
        path = artifact.into(self.folder / "dist")
        return twine(self.index.url("/legacy/"), "alice", PASSWORDS["alice"], path)

    def test_stopped(self) -> None:
        """The same commands work on a stopped pypid, and a start shows what they did."""
        self.publish_some()
        self.index.running.stop()
        manages(self)
        with pypid(self.place, self.settings) as again:
            self.check(again)


class AdoptTests(IndexTestCase):
    def test_adopt(self) -> None:
        """A folder that pip downloaded becomes an index in place: nothing is moved, and pip and uv
        install from it.
        """
        publish(
            self.index,
            wheel("kept"),
            wheel("kept", "2.0"),
            sdist("kept-source"),
            wheel("local-one", "1.0+cu118"),
        )
        flat = self.folder / "flat"
        what = ("kept==1.0", "kept-source", "local-one")
        works(pip(NEWEST, "download", self.index.url(), "--dest", flat, *what), self.folder)
        works(pip(NEWEST, "download", self.index.url(), "--dest", flat, "kept"), self.folder)
        (flat / "README.txt").write_text("ours\n")
        (flat / "bad-1.0-py3-none-any.whl").write_bytes(b"this is no wheel")
        before = {
            path: (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
            for path in flat.iterdir()
        }
        self.assertEqual(len(before), 6)

        place = self.folder / "pypid"
        place.mkdir()
        settings = Settings(storage=flat)
        (place / "pypid.ini").write_text(configuration(place, free_port(), settings))
        ended = run(
            [BIN / "pypid", "storage", "import", "--config", place / "pypid.ini", flat], self.folder
        )
        self.assert_adopted(ended)
        self.assertEqual(
            {
                path: (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
                for path in before
            },
            before,
        )

        with pypid(place, settings) as adopted:
            for number, command in enumerate(
                (pip(NEWEST, "install", adopted.url()), uv(adopted.url()))
            ):
                target = self.folder / f"target-{number}"
                works([*command, "--target", target, *what], self.folder)
                self.assertEqual(
                    installed(target), {"kept-1.0", "kept_source-1.0", "local_one-1.0+cu118"}
                )
            paths = {answer.path for answer in adopted.answers() if answer.status == 200}
            self.assertIn("/packages/kept/kept-1.0-py2.py3-none-any.whl", paths)
            manage(adopted, "PUT", "kept/releases/2.0/yank", reason="")
            self.assertEqual(
                [file["yanked"] for file in page(adopted, "kept")["files"]], [False, True]
            )

    def assert_adopted(self, ended: Ended) -> None:
        """What the command says of each file, and at the end."""
        self.assertNotIn("Traceback", ended.said)
        self.assertEqual(ended.status, 1, ended.said)  # one could not be adopted
        for name in (
            "kept-1.0-py2.py3-none-any.whl",
            "kept-2.0-py2.py3-none-any.whl",
            "kept_source-1.0.tar.gz",
        ):
            self.assertIn(f"{name}: adopted\n", ended.said)
        self.assertRegex(ended.said, r"bad-1\.0-py3-none-any\.whl: refused\n    .*zip")
        self.assertIn("4 files adopted, 1 refused; 0 projects known before", ended.said)


class OtherCommandTests(IndexTestCase):
    def test_gen_password(self) -> None:
        """`pypid gen-password --stdin NAME` prints a line for [users]; a pypid that has it lets
        that user in (C93).
        """
        line = works(
            [BIN / "pypid", "gen-password", "--stdin", "dora"],
            self.folder,
            said="d\u00f6r:a secret\n",
        )
        self.assertTrue(
            re.fullmatch(r"dora = \$argon2id\$v=19\$m=19456,t=2,p=1\$\S+\n", line), line
        )
        other = (
            shared(self.settings)
            .config.read_text()
            .replace(f":{self.index.port}:", f":{free_port()}:")
        )
        self.assertIn("[users]\n", other)
        config = self.folder / "pypid.ini"
        config.write_text(other.replace("[users]\n", f"[users]\n{line}"))
        self.assertIn("dora", works([BIN / "pypid", "check-config", config], self.folder))
