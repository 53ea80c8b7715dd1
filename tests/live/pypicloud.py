"""A real pypicloud, the last one, for tests that compare pypid with it. Skipped by name where it
cannot be had.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.live.clients import client
from tests.live.daemon import PASSWORDS, LiveIndex, stop, until_ready
from tests.live.processes import BIN, Running, clean_environ, free_port, running

LOGGING: Final = """
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = ERROR
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(levelname)s %(message)s
"""


@frozen
class Pypicloud:
    """One that runs. Its files lie below ``packages`` in its folder."""

    folder: Path
    port: int
    running: Running

    def url(self, path: str = "/simple/") -> str:
        """The URL of `path`."""
        return f"http://127.0.0.1:{self.port}{path}"


def hash_of(password: str) -> str:
    """A hash of the password that pypicloud verifies quickly (``$pbkdf2-sha256$``)."""
    salt = b"0123456789abcdef"
    words = [
        b64encode(each).decode().rstrip("=").replace("+", ".")
        for each in (salt, pbkdf2_hmac("sha256", password.encode(), salt, 1000))
    ]
    return "$".join(["", "pbkdf2-sha256", "1000", *words])


def configuration(folder: Path, port: int, settings: Mapping[str, str]) -> str:
    """A ``config.ini`` with the tests' people, files in a folder, and these settings besides."""
    users = {f"user.{name}": hash_of(password) for name, password in PASSWORDS.items()}
    lines = {
        "use": "egg:pypicloud",
        "pypi.storage": "file",
        "storage.dir": f"{folder}/packages",
        "db.url": f"sqlite:///{folder}/cache.db",
        "session.encrypt_key": "0123456789abcdef",
        "session.validate_key": "0123456789abcdef",
        "auth.admins": "admin",
        **users,
        **settings,
    }
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    server = f"[server:main]\nuse = egg:waitress#main\nhost = 127.0.0.1\nport = {port}\n"
    return f"[app:main]\n{text}{server}{LOGGING}"


@contextmanager
def pypid_in_its_place(folder: Path, settings: Mapping[str, str]) -> Iterator[LiveIndex]:
    """A pypid that is started with such a ``config.ini``, as it is; ended by
    SIGTERM, and cleanly.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.ini"
    config.write_text(configuration(folder, port, settings))
    command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config", config]
    with running(command, folder / "log", cwd=folder, environ=clean_environ()) as process:
        index = LiveIndex(folder, port, False, process)
        until_ready(index)
        yield index
        stop(index)


@contextmanager
def pypicloud(folder: Path, settings: Mapping[str, str], **more: str) -> Iterator[Pypicloud]:
    """A pypicloud with its state in `folder`, which may hold that of an earlier one, or of a pypid;
    `more` is environment.
    """
    command, port = client("pypicloud"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.ini"
    config.write_text(configuration(folder, port, settings))
    environ = clean_environ(
        all_proxy="http://127.0.0.1:9", no_proxy="127.0.0.1", **more
    )  # no other host is reached
    with running([command, config], folder / "log", cwd=folder, environ=environ) as process:
        found = Pypicloud(folder, port, process)
        process.until_answers(found.url("/health"))
        yield found
