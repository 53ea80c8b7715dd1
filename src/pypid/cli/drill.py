"""The drill of a restore: start a copy on 127.0.0.1, and compare it with the backup.

The copy has the documents, the databases and the configuration of the backup, but asks no other
machine: its storage is a folder, its accounts are in SQLite, and its upstream is off. Package files
are empty files of the right size, since `verify` has compared their content.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from pypid.cli.output import JobProgress, counted, print_json, printable
from pypid.core.errors import CannotStart, PypidError, Unreadable

if TYPE_CHECKING:
    from pypid.daemon.control import Control

STARTS_WITHIN = 3600.0
"""Seconds within which the copy has read its storage."""
_ANSWERS_WITHIN = 60.0
"""Seconds within which the copy answers anything at all."""
_ENDS_WITHIN = 30.0
_JSON_PAGE = "application/vnd.pypi.simple.v1+json, application/json;q=0.5"
_QUARANTINED = "quarantined"
_MOST_SHOWN = 50


@frozen
class ExpectedProject:
    """What the page of a project has to show: the SHA-256 of each file, and the yanked ones."""

    files: Mapping[str, str]
    yanked: frozenset[str]


@define
class DrillReport:
    """The result of a drill. `login`: the user that logged in; None if there are no accounts."""

    projects: int = 0
    files: int = 0
    users: int = 0
    login: str | None = None
    differences: list[str] = field(factory=list)

    def note_page(self, files: int, differences: Iterable[str]) -> None:
        """Note the result of a project page."""
        self.projects += 1
        self.files += files
        self.differences.extend(differences)

    def note_users(self, users: int, login: str | None, differences: Iterable[str]) -> None:
        """Note the result of the accounts."""
        self.users = users
        self.login = login
        self.differences.extend(differences)


def drill_values(port: int, configuration: str) -> dict[tuple[str, str], str | None]:
    """Return the values that keep a copy with this configuration to itself."""
    backend = {("access", "backend"): "config sql"} if _names_backend(configuration) else {}
    return {
        ("server", "listen"): f"tcp:{port}:interface=127.0.0.1",
        ("server", "tls_certificate"): None,
        ("server", "tls_key"): None,
        ("server", "public_url"): None,
        ("storage", "layout"): None,
        ("upstream", "mode"): "offline",
        ("upstream", "ca_certificates"): None,
        ("publish", "target"): None,
        **backend,
    }


def may_log_in(configuration: str, database: Path) -> bool:
    """Return whether users of the accounts database can log in to a copy with this configuration.

    Those of an older version cannot unless the configuration names a source of users.
    """
    from pypid.access.sql.account_names import read_names
    from pypid.databases.places import SqliteFile

    return _names_backend(configuration) or read_names(SqliteFile(database)).allows_logins


def _names_backend(configuration: str) -> bool:
    from pypid.core.configuration.ini import read

    access = read(configuration, "").sections.get("access")
    return access is not None and "backend" in access.entries


def run_drill(
    options: argparse.Namespace,
    configuration: str,
    restore: Callable[[Path, Mapping[tuple[str, str], str | None]], Path],
) -> int:
    """Run the drill, print its report, and return the exit status. `configuration` is that of the
    backup. `restore` writes a copy into a folder, with these values in its configuration, and
    returns the configuration file.
    """
    with TemporaryDirectory(prefix="pypid-drill-") as name:
        folder, port = Path(name), _free_port()
        file = restore(folder, drill_values(port, configuration))
        expected, unusable = expected_projects(folder / "packages")
        with started_copy(file, folder / "log") as process:
            report = _compared(file, port, expected, process)
    report.differences.extend(unusable)
    if options.json:
        import attrs

        print_json(attrs.asdict(report))
    else:
        _print(report)
    return 1 if report.differences else 0


def expected_projects(packages: Path) -> tuple[dict[str, ExpectedProject], list[str]]:
    """Return what the pages have to show, by the records in a restored storage folder, and the
    differences that the records themselves have. Create an empty file of the right size for each.

    A project of a named index is ``<index>/<project>``.
    """
    from pypid.blobs.keys import segments
    from pypid.core.records.documents import load_record
    from pypid.core.records.layout import ObjectKind, part_of

    found: dict[str, ExpectedProject] = {}
    unusable: list[str] = []
    for path in sorted(packages.rglob(f"*{ObjectKind.RECORD.value}")):
        try:
            file = load_record(path.read_bytes(), path.name)
        except Unreadable as error:
            unusable.append(str(error))
            continue
        if segments(file.key) is None:  # a path out of the folder, for example
            unusable.append(f"{file.project}: the record of {file.filename} has no valid key")
            continue
        part = part_of(path.relative_to(packages).as_posix())
        name = f"{part.split('/')[2]}/{file.project}" if part else file.project
        project = found.setdefault(name, ExpectedProject({}, frozenset()))
        bytes_at = packages / part / file.key
        bytes_at.parent.mkdir(parents=True, exist_ok=True)
        with bytes_at.open("ab") as placeholder:
            placeholder.truncate(file.size)
        is_yanked = path.with_name(file.filename + ObjectKind.YANKED.value).exists()
        found[name] = ExpectedProject(
            {**project.files, file.filename: file.sha256},
            project.yanked | ({file.filename} if is_yanked else set()),
        )
    return found, unusable


def _free_port() -> int:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started_copy(file: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a pypid with this configuration, and none of the environment's. It imports no modules of
    the current folder, which may belong to another user.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYPID_", "NOTIFY_", "LISTEN_", "STATE_DIRECTORY"))
    }
    program = [sys.executable, "-P", "-c", "from pypid.cli import main; main()"]
    command = [*program, "serve", "-c", str(file)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=file.parent,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN)
        process.kill()
        process.wait()


def _compared(
    file: Path,
    port: int,
    expected: Mapping[str, ExpectedProject],
    process: subprocess.Popen[bytes],
) -> DrillReport:
    from pypid.daemon.control import Control
    from pypid.daemon.state import control_socket

    folder, report = file.parent, DrillReport()
    control = Control(control_socket(folder / "state"))
    listed = _projects(control, process, folder / "log")
    of_default = {name for name in expected if "/" not in name}
    report.differences.extend(
        f"{name}: {'not in the index' if name in expected else 'not in the backup'}"
        for name in sorted(listed ^ of_default)
    )
    indexes = _answer_of(control, "/api/indexes")["indexes"]
    lasting = {index["name"] for index in indexes}
    progress = JobProgress("drill")
    for name in sorted(expected.keys() - (of_default - listed)):
        index, slash, project = name.rpartition("/")
        if slash and index not in lasting:
            continue
        page = _answer_of(control, f"/{index}{slash}simple/{project}/")
        if slash:  # it may also list files of the bases
            files = expected[name].files
            page = {**page, "files": [file for file in page["files"] if file["filename"] in files]}
        differences = page_differences(name, page, expected[name])
        report.note_page(len(expected[name].files), differences)
        progress.show(report.projects, 0)
    progress.clear()
    _try_accounts(control, file, port, report)
    return report


def _projects(control: Control, process: subprocess.Popen[bytes], log: Path) -> set[str]:
    """Return the projects of the copy, as soon as it has read its storage. Raises `CannotStart`."""
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < STARTS_WITHIN:
        try:
            return {project["name"] for project in _answer_of(control, "/simple/")["projects"]}
        except PypidError as error:
            is_reading = "not complete yet" in str(error)
            if not is_reading and time.monotonic() - begun > _ANSWERS_WITHIN:
                raise
        time.sleep(0.2)
    last = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise CannotStart("The copy did not start. Its log ends:\n" + "\n".join(last))


def _answer_of(control: Control, url: str) -> Any:
    from pypid.daemon.control import ControlRequest

    return control.answer(ControlRequest("GET", url, accept=_JSON_PAGE))


def page_differences(name: str, page: Mapping[str, Any], expected: ExpectedProject) -> list[str]:
    """Return how the page of a project, a document of the Simple API, differs."""
    if page.get("project-status", {}).get("status") == _QUARANTINED:
        return []  # its page lists no files
    files = {file["filename"]: file for file in page["files"]}
    found = [
        f"{name}: {filename} is {'missing' if filename in expected.files else 'not in the backup'}"
        for filename in sorted(files.keys() ^ expected.files.keys())
    ]
    for filename in sorted(files.keys() & expected.files.keys()):
        if files[filename]["hashes"].get("sha256") != expected.files[filename]:
            found.append(f"{name}: {filename} has another hash")
        if (files[filename].get("yanked", False) is not False) != (filename in expected.yanked):
            found.append(f"{name}: {filename} is yanked in one of the two only")
    return found


# --- accounts -------------------------------------------------------------------------------------


def _try_accounts(control: Control, file: Path, port: int, report: DrillReport) -> None:
    """Compare the users, and log in as one of them with a new token, if they can log in. `file`:
    the configuration of the copy.
    """
    from pypid.daemon.control import ControlRequest

    database = file.parent / "state/accounts.db"
    users = _answer_of(control, "/api/users")["users"]
    known = {user["name"] for user in users}
    found = [f"the user {name} is missing" for name in sorted(_users_in(database) - known)]
    active = (user["name"] for user in users if user["status"] == "active")
    login = next(active, None) if may_log_in(file.read_text(), database) else None
    if login is not None:
        document = {"name": "drill", "user": login, "actions": ["read"]}
        secret = control.answer(ControlRequest("POST", "/api/tokens", document))["secret"]
        for sent, expected in ((secret, 200), (f"{secret[:-3]}xyz", 401)):
            got = _status(port, sent)
            if got != expected:
                found.append(f"a login as {login} got {got} instead of {expected}")
    report.note_users(len(known), login, found)


def _users_in(database: Path) -> set[str]:
    if not database.exists():
        return set()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as opened:
        return {name for (name,) in opened.execute("SELECT name FROM pypid_users")}


def _status(port: int, secret: str) -> int:
    """Return the status of a request with a token."""
    credential = b64encode(f"__token__:{secret}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/simple/", headers={"Authorization": f"Basic {credential}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _print(report: DrillReport) -> None:
    for difference in report.differences[:_MOST_SHOWN]:
        print(printable(difference))
    more = len(report.differences) - _MOST_SHOWN
    if more > 0:
        print(f"... and {more} more (--json shows all)")
    login = "no login was tried" if report.login is None else f"{report.login} could log in"
    print(
        f"{counted(report.projects, 'project page')} with {counted(report.files, 'file')} and "
        f"{counted(report.users, 'user')} compared; {login}."
    )
    print(
        f"{counted(len(report.differences), 'difference')}."
        if report.differences
        else "The copy is equal to the backup."
    )
