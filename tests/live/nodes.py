"""Several pypids that share a bucket and a catalog, and clients that publish through them while
parts of it all die.
"""

import hashlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from attrs import define, field

from tests.distributions import wheel, wheel_filename
from tests.live.asking import Answered, ask, basic
from tests.live.daemon import check_log, hashes
from tests.live.processes import BIN, Running, clean_environ, free_port, running, scratch
from tests.live.stores import Store

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
TROUBLE = (OSError, http.client.HTTPException)
"""What a client meets while a node is away."""


@define(eq=False)
class Node:
    """One pypid, which may be killed and started again; its folder and its port stay."""

    folder: Path
    port: int
    stack: ExitStack = field(factory=ExitStack, repr=False)
    process: Running | None = None
    starts: int = 0

    @property
    def log(self) -> str:
        """All that it logged, in all its lives."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.folder.glob("log*"))
        )

    def start(self, within: float = 30.0) -> None:
        """Start it, and wait until it answers."""
        self.starts += 1
        command = [BIN / "pypid", "serve", "--config", self.folder / "pypid.ini"]
        log = self.folder / f"log{self.starts:03}"
        self.process = self.stack.enter_context(
            running(command, log, cwd=self.folder, environ=clean_environ())
        )
        self.process.until_answers(f"http://127.0.0.1:{self.port}/health", within)

    def is_whole(self) -> bool:
        """Whether it knows all, and everybody."""
        return (
            bool(self.ask("/health").json["complete"])
            and self.ask("/api/tokens", basic("admin")).status == 200
        )

    def kill(self) -> None:
        """As a power cut."""
        assert self.process is not None
        self.process.process.kill()
        self.process.process.wait()

    def stop(self) -> None:
        """In order, with a clean log."""
        if self.process is not None and self.process.process.poll() is None:
            assert self.process.stop() == 0, self.log
        self.stack.close()
        check_log(self.log)

    def ask(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> Answered:
        """One request."""
        return ask(self.port, path, headers, **more)

    def page(self, project: str) -> dict[str, Any] | None:
        """The files of a project, by name; None for 404. Raises `AssertionError` for another
        answer.
        """
        answer = self.ask(f"/simple/{project}/", JSON)
        if answer.status == 404:
            return None
        assert answer.status == 200, (answer.status, answer.text)
        return {file["filename"]: file for file in answer.json["files"]}

    def download(self, project: str, filename: str) -> bytes:
        """The bytes; signed URLs are followed. Raises `AssertionError` for anything but a file."""
        answer = self.ask(f"/packages/{project}/{filename}")
        for _ in range(3):
            if answer.status not in (302, 303, 307):
                break
            host, _, path = answer.headers["Location"].partition("//")[2].partition("/")
            answer = ask(int(host.rpartition(":")[2]), f"/{path}")
        assert answer.status == 200, (filename, answer.status, answer.text)
        return answer.body

    def publish(self, filename: str, data: bytes, user: str = "alice", index: str = "") -> Answered:
        """Publish with the fewest fields that pypid takes, to an index such as ``/team``."""
        return publish(self.port, filename, data, user, index)


def publish(
    port: int, filename: str, data: bytes, user: str = "alice", index: str = ""
) -> Answered:
    """Publish with the fewest fields that pypid takes, to an index such as ``/team``."""
    head = "".join(
        f'--=x=\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in ((":action", "file_upload"), ("protocol_version", "1"))
    )
    head += (
        f'--=x=\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": "multipart/form-data; boundary==x=", **basic(user)}
        connection.request(
            "POST", f"{index}/legacy/", head.encode() + data + b"\r\n--=x=--\r\n", headers
        )
        answer = connection.getresponse()
        return Answered(answer.status, answer.read(), answer.headers)
    finally:
        connection.close()


@contextmanager
def nodes(count: int, bucket: Store, database: str, *, more: str = "") -> Iterator[list[Node]]:
    """So many, on a new bucket. `database`: the URL of theirs; `more`: lines of ``[storage]``."""
    name = bucket.bucket("nodes")
    users = "".join(f"{user} = {hashed}\n" for user, hashed in hashes().items())
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            node = Node(stack.enter_context(scratch("pypid-node-")), free_port())
            (node.folder / "pypid.ini").write_text(
                f"[server]\nlisten = tcp:{node.port}:interface=127.0.0.1\nstate = "
                f"{node.folder / 'state'}\n"
                f"secret = {'s' * 40}\n[upstream]\nmode = offline\n[database]\nurl = {database}\n"
                f"[storage]\nbackend = s3\nbucket = {name}\nregion = "
                f"{bucket.region}\nendpoint_url = {bucket.endpoint}\n"
                f"access_key = {bucket.access_key}\nsecret_key = {bucket.secret_key}\n{more}"
                f"[access]\nbackend = config sql\nwrite = alice carol\nadmins = "
                f"admin\n[users]\n{users}"
            )
            stack.callback(node.stack.close)
            made.append(node)
        for node in made:
            node.start()
        for node in made:
            until(node, lambda node=node: node.is_whole(), pause=0.2)  # type: ignore[misc]
        yield made
        for node in made:
            node.stop()


def until(node: Node, so: Callable[[], object], within: float = 30.0, pause: float = 0.02) -> float:
    """Wait until it is so; the seconds that it took. Raises `AssertionError` with
    the node's log.
    """
    begun = time.monotonic()
    trouble: object = None
    while time.monotonic() - begun < within:
        try:
            if so():
                return time.monotonic() - begun
            trouble = None
        except (*TROUBLE, AssertionError, json.JSONDecodeError) as error:
            trouble = error
        time.sleep(pause)
    raise AssertionError(f"not within {within} s ({trouble}):\n{node.log[-5000:]}")


@define
class Storm:
    """Threads that publish through changing nodes until they are told to stop; each goes on with a
    file until it is sure.
    """

    nodes: list[Node]
    projects: int = 6
    acknowledged: dict[str, str] = field(factory=dict)
    """The SHA-256 of each file that was acknowledged, by its name."""
    sent: dict[str, str] = field(factory=dict)
    """The same of each that was sent at all."""
    refused: list[tuple[str, int, str]] = field(factory=list)
    """What no client should be told."""
    _over: threading.Event = field(factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(factory=list, init=False)

    def begin(self, writers: int = 3) -> None:
        """Start them."""
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(writers)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop them; what is under way is given up."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def go_on(self, count: int, within: float = 60.0) -> None:
        """Wait until so many more were acknowledged."""
        goal, deadline = len(self.acknowledged) + count, time.monotonic() + within
        while len(self.acknowledged) < goal:
            assert time.monotonic() < deadline, (
                f"{goal - len(self.acknowledged)} of {count} files were not taken in {within} s"
            )
            time.sleep(0.02)

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        round_ = 0
        while not self._over.is_set():
            round_ += 1
            project = f"storm-{chance.randrange(self.projects)}"
            version = f"{number + 1}.{round_}"
            filename, data = wheel_filename(project, version), wheel(project, version)
            sha256 = self.sent[filename] = hashlib.sha256(data).hexdigest()
            while not self._over.is_set():
                with suppress(*TROUBLE):
                    answer = chance.choice(self.nodes).publish(filename, data)
                    if answer.status == 200:
                        self.acknowledged[filename] = sha256
                        break
                    if answer.status not in (503, 429):
                        self.refused.append((filename, answer.status, answer.text))
                        break
                time.sleep(0.05)

    def check(self, node: Node) -> None:
        """The node lists all that was acknowledged, nothing that was never sent, and whatever it
        lists can be had whole.
        """
        listed: dict[str, Any] = {}
        for number in range(self.projects):
            listed.update(node.page(f"storm-{number}") or {})
        missing = self.acknowledged.keys() - listed.keys()
        assert not missing, f"{sorted(missing)} are not listed"
        assert listed.keys() <= self.sent.keys(), (
            f"{sorted(listed.keys() - self.sent.keys())} were never sent"
        )
        for filename, file in listed.items():
            assert file["hashes"]["sha256"] == self.sent[filename], (
                f"{filename} is listed with another hash"
            )
            project = filename.partition("-")[0].replace("_", "-")
            data = node.download(project, filename)
            assert hashlib.sha256(data).hexdigest() == self.sent[filename], (
                f"{filename} has other bytes"
            )


@contextmanager
def restarted(server: Running) -> Iterator[Callable[[], Running]]:
    """Kill a server; call what is given to start it again as it was. It ends with the block."""
    server.process.kill()
    server.process.wait()
    with ExitStack() as stack:
        log = server.log.with_name(server.log.name + ".again")
        command = cast(Sequence[str | Path], server.process.args)
        yield lambda: stack.enter_context(running(command, log, cwd=server.log.parent))
