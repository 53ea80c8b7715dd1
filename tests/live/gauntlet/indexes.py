"""A pypid that is killed and started again on the same state, and what its clients see."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define, field, frozen

from tests.live.asking import Answered, ask, basic
from tests.live.daemon import Settings, configuration
from tests.live.gauntlet.shim import Shim
from tests.live.gauntlet.upstream import serving
from tests.live.processes import BIN, Running, clean_environ, free_port, running, scratch
from tests.live.projects import Artifact

J = "application/vnd.pypi.simple.v1+json"
ADMIN = basic("admin")
STORAGE, STATE, TEMPORARY = range(3)
"""The folders of the shim."""


@frozen
class Page:
    """What clients see of a project: the status of its page, its project status, and its files."""

    status: int
    marked: str = ""
    files: tuple[tuple[str, str, bool], ...] = ()
    """File name, SHA-256 and whether it is yanked."""


@define(eq=False)
class Index:
    """A pypid with its state in `folder`, under the shim."""

    folder: Path
    upstream: str
    port: int = field(factory=free_port)
    shim: Shim = field(init=False)
    running: Running = field(init=False)
    starts: int = 0
    _process: ExitStack = field(factory=ExitStack)

    def __attrs_post_init__(self) -> None:
        state = self.folder / "state"
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.shim = Shim(self.folder, [state / "packages", state, state / "spool"])
        settings = Settings(
            upstream=f"url = {self.upstream}\nmode = cache\ntimeout = 5s",
            access="overwrite = admin\ndelete = admin",
        )
        (self.folder / "pypid.ini").write_text(configuration(self.folder, self.port, settings))

    def start(self, wait: bool = True) -> None:
        """Start it; wait until it answers, and not until it has compared its storage, or do not
        wait.
        """
        self.starts += 1
        command: Sequence[str | Path] = [BIN / "pypid", "serve", "-c", self.folder / "pypid.ini"]
        environ = clean_environ(**self.shim.environ, TMPDIR=str(self.folder / "tmp"))
        log = self.folder / f"log-{self.starts}"
        self.running = self._process.enter_context(
            running(command, log, cwd=self.folder, environ=environ)
        )
        if wait:
            self.wait_until_answers()

    def wait_until_answers(self, within: float = 60.0) -> None:
        """Wait for /health. Raises `AssertionError` with its log when it ends or time is up."""
        deadline = time.monotonic() + within
        while (answer := self.ask("GET", "/health")) is None or answer.status != 200:
            if self.running.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"pypid did not start:\n{self.running.output()[-3000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended."""
        if self.running.process.poll() is None:
            self.running.process.send_signal(signal.SIGKILL)
        self.running.process.wait(20)
        self._process.close()

    def has_died(self, within: float = 5.0) -> bool:
        """Return whether the process has ended, or ends soon."""
        try:
            self.running.process.wait(within)
        except Exception:
            return False
        return True

    def ask(
        self, method: str, path: str, document: object = None, **headers: str
    ) -> Answered | None:
        """Ask as the administrator; None where the connection broke before the answer was whole."""
        try:
            return ask(self.port, path, {**ADMIN, **headers}, method=method, document=document)
        except (OSError, http.client.HTTPException):
            return None

    def publish(self, artifact: Artifact) -> Answered | None:
        """Upload as twine does."""
        boundary = "0123456789abcdef"
        fields = {":action": "file_upload", "protocol_version": "1"}
        parts = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="content"; '
            f'filename="{artifact.filename}"\r\n\r\n'
        )
        body = (parts + head).encode() + artifact.data + f"\r\n--{boundary}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {**ADMIN, "Content-Type": f"multipart/form-data; boundary={boundary}"}
            connection.request("POST", "/legacy/", body, headers)
            answer = connection.getresponse()
            return Answered(answer.status, answer.read(), answer.headers)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def see(self, project: str) -> tuple[Page, list[str]]:
        """Look at a project as a client does; with the problems: files that do not download with
        their hash.
        """
        answer = self.ask("GET", f"/simple/{project}/", Accept=J)
        if answer is None:
            return Page(0), ["no answer"]
        if answer.status != 200:
            return Page(answer.status), [f"page: {answer.status}"] if answer.status >= 500 else []
        page = json.loads(answer.body)
        files, problems = [], []
        for file in page["files"]:
            digest = file["hashes"]["sha256"]
            files.append((file["filename"], digest, bool(file.get("yanked"))))
            got = self.ask(
                "GET",
                urlsplit(file["url"]).path
                if file["url"].startswith("http")
                else self._path(project, file["url"]),
            )
            if got is None or got.status != 200 or sha256(got.body).hexdigest() != digest:
                problems.append(
                    f"{file['filename']} is listed and does not download: {got and got.status}"
                )
        return Page(
            200, page.get("project-status", {}).get("status", "active"), tuple(sorted(files))
        ), problems

    @staticmethod
    def _path(project: str, url: str) -> str:
        path = f"/simple/{project}/"
        while url.startswith("../"):
            url, path = url[3:], path.rstrip("/").rpartition("/")[0] + "/"
        return urlsplit(url if url.startswith("/") else path + url).path

    def tracebacks(self) -> list[str]:
        """Return the logs that hold a traceback."""
        return [
            log.name
            for log in sorted(self.folder.glob("log-*"))
            if "Traceback" in log.read_text(errors="replace")
        ]


@contextmanager
def index() -> Iterator[Index]:
    """A pypid that is ready, in front of an upstream index of its own; killed afterwards."""
    with scratch("pypid-gauntlet-") as folder, serving() as upstream:
        made = Index(folder, upstream)
        made.start()
        try:
            yield made
        finally:
            made.kill()
