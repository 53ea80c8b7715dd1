"""What protects a first run without configuration: a cooldown, and reports of malware."""

# trial's assertions and Twisted's transports are not annotated
# mypy: allow-untyped-calls

import json
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.advisories.archives import archive_of, record
from tests.live.isolation import fails, pip, works
from tests.live.processes import (
    BIN,
    Running,
    clean_environ,
    done,
    free_port,
    running,
    until_answers,
)
from tests.live.projects import wheel
from tests.live.test_install import NEWEST, installed
from tests.live.upstreams import FrontedCase, sends
from tests.upstream.fake import J, says

YOUNG: Final = "it is too young ([upstream] cooldown)"
ARCHIVE: Final = "/PyPI/all.zip"


class ProtectionTests(FrontedCase):
    """`pypid serve` in an empty folder, with the addresses of the upstream and of the archive in
    its environment.
    """

    def setUp(self) -> None:
        super().setUp()
        self.own = free_port()
        self.url = f"http://127.0.0.1:{self.own}"
        self.lists("fresh", ("1.0", 10), ("2.0", 1))
        self.lists("evil", ("1.0", 10), ("2.0", 10))

    def lists(self, name: str, *releases: tuple[str, int]) -> None:
        """The upstream has these versions, uploaded that many days ago."""
        files = []
        for version, days in releases:
            artifact = wheel(name, version)
            path = f"/files/{artifact.filename}"
            self.fake.scripts[path] = sends(artifact.data)
            uploaded = datetime.now(UTC) - timedelta(days=days)
            files.append(
                {
                    "filename": artifact.filename,
                    "url": path,
                    "hashes": {"sha256": sha256(artifact.data).hexdigest()},
                    "size": len(artifact.data),
                    "upload-time": uploaded.isoformat(),
                }
            )
        page = {"meta": {"api-version": "1.4"}, "name": name, "files": files}
        self.fake.scripts[f"/simple/{name}/"] = says(json.dumps(page).encode(), Content_Type=J)

    def environ(self) -> dict[str, str]:
        """The environment of pypid and of its commands."""
        return clean_environ(
            HOME=str(self.folder),
            XDG_DATA_HOME=str(self.folder / "data"),
            PYPID_SERVER_LISTEN=f"tcp:{self.own}:interface=127.0.0.1",
            PYPID_UPSTREAM_URL=f"{self.fake.url}/simple/",
            PYPID_ADVISORIES_SOURCE=f"{self.fake.url}{ARCHIVE}",
        )

    def started(self) -> Running:  # type: ignore[override]
        """A first run."""
        (self.folder / "empty").mkdir()
        serve: list[str | Path] = [BIN / "pypid", "serve"]
        cwd, log = self.folder / "empty", self.folder / "log"
        process = self.entered(running(serve, log, cwd=cwd, environ=self.environ()))
        process.until_answers(f"{self.url}/health")
        return process

    def command(self, *words: str) -> str:
        """What a command says."""
        return done([BIN / "pypid", *words], environ=self.environ())

    def install(self, requirement: str) -> list[str | Path]:
        """An installation without dependencies, into the folder of this name."""
        target = self.folder / requirement
        return [*pip(NEWEST, "install", f"{self.url}/simple/"), "--target", target, requirement]

    def check_hidden(self, process: Running) -> None:
        deadline = time.monotonic() + 30
        while "advisories loaded" not in process.output():
            assert time.monotonic() < deadline, process.output()
            time.sleep(0.05)
        for name in ("fresh", "evil"):
            works(self.install(name), self.folder)
            self.assertEqual(installed(self.folder / name), {f"{name}-1.0"})
            fails(self.install(f"{name}==2.0"), self.folder)
        for name, reason in (("fresh", YOUNG), ("evil", "(MAL-2026-1)")):
            page = until_answers(f"{self.url}/project/{name}/").decode()
            self.assertRegex(page, "Version 2.0 is hidden")
            self.assertIn(reason, page)
            self.assertIn(reason, self.command("project", "why", name))
            lines = process.output().splitlines()
            (line,) = [line for line in lines if f"project={name} version=2.0" in line]
            self.assertIn("the newest version is hidden", line)
            self.assertIn(reason, line)
        self.assertRegex(self.command("status"), r"advisories: +OK \(read ")

    async def test_hidden(self) -> None:
        """A release of yesterday and a reported one are not installed; the project's page, `why`
        and one line of the log say so.
        """
        data = archive_of(record("MAL-2026-1", "evil", "introduced=2.0")).getvalue()
        self.fake.scripts[ARCHIVE] = says(data)
        process = await self.run_(self.started)
        await self.run_(self.check_hidden, process)
