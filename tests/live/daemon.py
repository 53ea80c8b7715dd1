"""A real `twistd pypid` on a free port, with users, for tests that drive real clients against it.

Starting one takes a second: the tests of a process that want the same settings share one, so each
test publishes under project names of its own. What a test made pypid write into its log is looked
at when the test ends, and is no secret.
"""

import atexit
import functools
import re
import signal
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.passwords import hash_password
from tests.live.processes import BIN, Running, clean_environ, free_port, running, scratch

PASSWORDS: Final[Mapping[str, str]] = {
    "admin": "mountain-secret-1",
    "alice": "rabbit-secret-2",
    "bob": "builder-secret-3",
    # a colon, what is not Latin, and what looks as if it were quoted (C93)
    "carol": "k\u00e4:se-%40-secret-4",
}
"""alice and carol may publish, admin may all, bob may read."""

T = TypeVar("T")

LOG_LINE: Final = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/1\.[01]" (?P<status>\d+) (?P<size>\S+) "-" "(?P<agent>[^"]*)"'
)


@frozen
class Settings:
    """What differs between the pypids that tests want."""

    read: str = "everyone"
    certificate: Path | None = None
    key: Path | None = None
    storage: Path | None = None
    bucket: str = ""
    """The lines of ``[storage]`` of a store that is no folder."""
    upstream: str = "mode = offline"
    """The lines of ``[upstream]``."""
    sections: str = ""
    """Further sections, as they stand in the file."""
    server: str = ""
    """Further lines of ``[server]``."""
    access: str = ""
    """Further lines of ``[access]``."""
    trusted: Path | None = None
    """PEM of the authorities that pypid itself believes, in place of the system's."""


@frozen
class Answer:
    """One line of the access log."""

    method: str
    path: str
    status: int
    agent: str


@frozen
class LiveIndex:
    """A pypid that runs. Its folder holds the configuration, the state and the log."""

    folder: Path
    port: int
    secure: bool
    running: Running

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "pypid.ini"

    @property
    def storage(self) -> Path:
        """Where files lie, unless the settings say otherwise."""
        return self.folder / "state/packages"

    def url(
        self, path: str = "/simple/", user: str | None = None, *, port: int | None = None
    ) -> str:
        """The URL of `path`, with the user's name and password in it if one is given; `port` of a
        proxy in front.
        """
        credential = "" if user is None else f"{user}:{quote(PASSWORDS[user], safe='')}@"
        return f"{'https' if self.secure else 'http'}://{credential}127.0.0.1:{port or self.port}{path}"

    def log_size(self) -> int:
        """Bytes that it has logged."""
        return self.running.log.stat().st_size

    def log(self, since: int = 0) -> str:
        """What it logged from that byte on."""
        return self.running.log.read_bytes()[since:].decode(errors="replace")

    def answers(self, since: int = 0) -> list[Answer]:
        """What it answered, from that byte of its log on."""
        found = LOG_LINE.finditer(self.log(since))
        return [
            Answer(line["method"], line["path"], int(line["status"]), line["agent"])
            for line in found
        ]


def configuration(folder: Path, port: int, settings: Settings) -> str:
    """The text of ``pypid.ini``."""
    tls = (
        ""
        if settings.certificate is None
        else f"tls_certificate = {settings.certificate}\ntls_key = {settings.key}\n"
    )
    storage = "" if settings.storage is None else f"[storage]\npath = {settings.storage}\n"
    storage = f"[storage]\n{settings.bucket}\n" if settings.bucket else storage
    users = "".join(f"{user} = {hashed}\n" for user, hashed in hashes().items())
    return (
        f"[server]\nlisten = tcp:{port}:interface=127.0.0.1\nstate = "
        f"{folder / 'state'}\n{tls}{settings.server}\n{storage}"
        f"[upstream]\n{settings.upstream}\n"
        f"[access]\nread = {settings.read}\nwrite = alice carol admin\nadmins = "
        f"admin\n{settings.access}\n"
        f"[users]\n{users}{settings.sections}"
    )


@functools.cache
def hashes() -> Mapping[str, str]:
    """The users' hashes, as `pypid gen-password` makes them."""
    return {user: hash_password(password) for user, password in PASSWORDS.items()}


READY = ("compared with the storage: ", "not compared: another node", "catalog is unavailable")


@contextmanager
def pypid(folder: Path, settings: Settings) -> Iterator[LiveIndex]:
    """A pypid with its state in `folder`, which may hold that of an earlier one; ended by SIGTERM,
    and cleanly.
    """
    port = free_port()
    (folder / "pypid.ini").write_text(configuration(folder, port, settings))
    command = [
        BIN / "twistd",
        "--nodaemon",
        "--pidfile=",
        "pypid",
        "--config",
        folder / "pypid.ini",
    ]
    environ = (
        clean_environ()
        if settings.trusted is None
        else clean_environ(SSL_CERT_FILE=str(settings.trusted))
    )
    with running(command, folder / "log", cwd=folder, environ=environ) as process:
        index = LiveIndex(folder, port, settings.certificate is not None, process)
        until_ready(index)
        yield index
        stop(index)


def stop(index: LiveIndex) -> None:
    """End it by SIGTERM; it says good-bye, its exit status is 0, and its whole log is clean."""
    status = index.running.process.poll()
    if status is None:
        status = index.running.stop(signal.SIGTERM)
    assert status == 0, f"pypid ended with {status}:\n{index.log()}"
    assert "Server Shut Down" in index.log(), index.log()
    check_log(index.log())


def until_ready(index: LiveIndex, within: float = 30.0) -> None:
    """Wait until it has compared its storage, or knows that another node has, or that its database
    is away; it listens then. Raises `AssertionError` with its log.
    """
    deadline = time.monotonic() + within
    while not any(each in index.log() for each in READY):
        if index.running.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"pypid did not start:\n{index.log()}")
        time.sleep(0.05)


@functools.cache
def shared(settings: Settings) -> LiveIndex:
    """The pypid of this process with these settings; ends with the process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(pypid(stack.enter_context(scratch()), settings))


def check_log(text: str) -> None:
    """Raise `AssertionError` for a traceback, a password in any spelling, or a credential."""
    forbidden = ["Traceback", "Unhandled", "Authorization", "authorization:"]
    for user, password in PASSWORDS.items():
        pair = f"{user}:{password}"
        forbidden += [
            password,
            quote(password),
            quote(password, safe=""),
            repr(password)[1:-1],
            ascii(password)[1:-1],
        ]
        forbidden += [
            b64encode(pair.encode(charset, "replace")).decode() for charset in ("utf-8", "latin-1")
        ]
    found = [word for word in forbidden if word in text]
    assert not found, f"the log must not hold {found}:\n{text}"


def for_each(*values: str) -> Callable[[Callable[[Any, str], None]], Callable[[Any, str], None]]:
    """Make one test of the method for each value, so that each is skipped, or fails, by its own
    name.
    """

    def mark(method: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
        method.for_each = values  # type: ignore[attr-defined]
        return method

    return mark


class IndexTestCase(SynchronousTestCase):
    """Tests against the shared pypid of their `settings`, with a scratch folder each."""

    settings = Settings()

    def __init_subclass__(cls) -> None:
        for method in list(vars(cls).values()):
            for value in getattr(method, "for_each", ()):
                name = "test_" + re.sub(
                    "[^a-z0-9]+", "_", f"{method.__name__} {value}".lower()
                ).strip("_")

                def test(
                    self: Any, method: Callable[[Any, str], None] = method, value: str = value
                ) -> None:
                    method(self, value)

                test.__name__, test.__doc__, test.__qualname__ = (
                    name,
                    method.__doc__,
                    f"{cls.__qualname__}.{name}",
                )
                setattr(cls, name, test)

    def setUp(self) -> None:
        self.folder = self.entered(scratch())
        self.index = self.start()
        self.since = self.index.log_size()
        self.addCleanup(lambda: check_log(self.index.log(self.since)))

    def start(self) -> LiveIndex:
        """The index to test; those that stop or break theirs have their own."""
        return shared(self.settings)

    def entered(self, manager: AbstractContextManager[T]) -> T:
        """What `manager` gives, until the test is over."""
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def answered(
        self, method: str, path: str, *, status: int = 200, agent: str = "", times: int = 1
    ) -> None:
        """pypid itself answered `path` so, at least so often since the test began, to a client
        whose User-Agent begins so.

        A client may be gone before the line is written: for a moment this waits.
        """
        deadline = time.monotonic() + 5
        while True:
            answers = self.index.answers(self.since)
            alike = [
                a
                for a in answers
                if (a.method, a.path, a.status) == (method, path, status)
                and a.agent.startswith(agent)
            ]
            if len(alike) >= times:
                return
            if time.monotonic() > deadline:
                seen = "\n".join(map(str, answers))
                raise AssertionError(
                    f"no {times} x {method} {path} -> {status} for {agent or 'anybody'} in:\n{seen}"
                )
            time.sleep(0.02)
