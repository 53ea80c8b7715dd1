"""The `storage import-devpi` command: users, indexes and files of a devpi-server.

This process reads the export folder, which comes from elsewhere: it follows no symbolic link in it,
and opens nothing outside. The daemon checks each file as it checks an upload. What exists already
stays as it is, so that the command can be repeated after an interruption. Clients see an index when
all its files were sent: until then it is closed, and inherits nothing.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import ELOOP, ENOTDIR
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import asdict, define, field

from pypid.cli.grammar import argument, command, flag
from pypid.cli.output import counted, print_answer, print_progress, printable
from pypid.cli.request import send_steps
from pypid.core.errors import BadRequest

if TYPE_CHECKING:  # `--help` need not wait for them
    from pypid.core.devpi import Choices, DevpiExport, DevpiFile, DevpiPlan, PlannedIndex
    from pypid.daemon.control import ControlRequest

EXAMPLES = """\
  devpi-export --serverdir /var/lib/devpi /srv/export      on the machine of devpi-server
  pypid storage import-devpi /srv/export --dry-run         what would be done
  pypid storage import-devpi /srv/export
  pypid storage import-devpi /srv/export --name alice/prod=production

The index USER/INDEX becomes the named index USER-INDEX, with its bases, its flag `volatile`
and its acl_upload. Files keep their upload times and uploaders, users their passwords. A
mirror of PyPI becomes an index that shows the upstream index. pypid redirects
/USER/INDEX/+simple/ and /USER/INDEX/+f/, so that pip.conf and lock files stay valid.

Names that two indexes would have, and mirrors of other indexes, are listed with a
proposal, and nothing is imported before they are resolved. Lines that begin with `different
here` name what is not imported, such as documentation and test results, or works differently.

The command can be repeated, and continues after an interruption: existing users, indexes and
files stay as they are. Clients cannot see an index until its import has finished. The exit
status is 1 if something has to be resolved, or a file was not imported.
"""
SECONDS = 2.0
"""Time between two progress messages."""
AT_ONCE = 1000
"""Maximum number of files in one survey request."""
STOPPED = "The import stopped: {} Run the command again to continue it."
NO_FILE = (
    "pypid may send the name to the upstream index: if the project is private, add the name to "
    "[upstream] reserved"
)
_SYMLINK = "it is a symbolic link, or below one"


def _run(options: argparse.Namespace) -> None:
    from pypid.core.devpi import DevpiPlanner

    names, mirrors = _pairs("--name", options.name), _pairs("--mirror", options.mirror)
    with _opened_folder(options.folder) as folder:
        export = _read(folder)
        plan = DevpiPlanner(export, _choices(options, names, mirrors)).plan()
        report = Report(
            folder=str(options.folder),
            devpi_server=export.server,
            dry_run=options.dry_run,
            accounts=[user["username"] for user in plan.accounts["users"]],
            problems=[asdict(each) for each in plan.problems],
            left=[asdict(each) for each in plan.left],
        )
        send_steps(options, Importer(folder, plan, report, names).steps())
    print_answer(options, asdict(report), _print)
    if not report.is_complete:
        sys.exit(1)


def _pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        origin, is_pair, name = value.partition("=")
        if not is_pair or "/" not in origin or not name:
            sys.exit(f"pypid: {option} {value}: write USER/INDEX=NAME; nothing was imported")
        pairs[origin] = name
    return pairs


def _choices(
    options: argparse.Namespace, names: Mapping[str, str], mirrors: Mapping[str, str]
) -> Choices:
    """Return the choices of the options, with the upstreams of the configuration."""
    from pypid.core.devpi import Choices
    from pypid.core.policy import PUBLIC
    from pypid.wiring.platform import load_config

    config = load_config(options.config)
    upstreams = {
        **{url: name for name, each in config.upstreams.items() for url in each.url},
        **dict.fromkeys(config.upstream.url, PUBLIC),
    }
    return Choices(
        names=names,
        mirrors=mirrors,
        upstreams=upstreams,
        named_upstreams=config.upstreams.keys(),
    )


# --- the folder -----------------------------------------------------------------------------------


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    """Open the folder for the block. Exits if it cannot be opened."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        sys.exit(f"pypid: {path}: {error.strerror}; nothing was imported")
    try:
        yield folder
    finally:
        os.close(folder)


def open_in(folder: int, path: Sequence[str]) -> BinaryIO:
    """Open a regular file below the folder. Raises `BadRequest` with the reason if it does not
    exist, is no regular file, or is reached through a symbolic link.
    """
    *folders, name = path
    current = os.dup(folder)
    try:
        for each in folders:
            below = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = below
        # without O_NONBLOCK, a named pipe would wait for a writer
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=current)
    except FileNotFoundError:
        raise BadRequest("the export does not contain it") from None
    except OSError as error:
        is_link = error.errno in (ELOOP, ENOTDIR)
        raise BadRequest(_SYMLINK if is_link else f"it cannot be read: {error.strerror}") from None
    finally:
        os.close(current)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise BadRequest("it is not a regular file")
    return os.fdopen(file, "rb")


def _read(folder: int) -> DevpiExport:
    """Return the export in the folder. Exits if there is none."""
    from pypid.core.devpi import DOCUMENT, LARGEST, read_export

    try:
        with open_in(folder, (DOCUMENT,)) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise BadRequest(f"it is larger than {LARGEST} bytes")
    except (BadRequest, OSError) as error:
        sys.exit(f"pypid: {DOCUMENT}: {error}; nothing was imported")
    return read_export(data)


# --- the report -----------------------------------------------------------------------------------


@define
class Report:
    """The result of an import, as `--json` prints it."""

    folder: str
    devpi_server: str
    dry_run: bool
    accounts: list[str]
    """The users of the export who have an account after the import."""
    problems: list[dict[str, str]] = field(factory=list)
    """What has to be resolved before anything is imported."""
    users: dict[str, Any] = field(factory=dict)
    """The answer of ``POST /api/acl``."""
    indexes: list[dict[str, Any]] = field(factory=list)
    files: list[dict[str, str]] = field(factory=list)
    """Files that were not imported, or have defects."""
    left: list[dict[str, str]] = field(factory=list)
    """The parts of the export that are not imported unchanged."""

    @property
    def is_complete(self) -> bool:
        """Whether there are no problems, and every file was imported."""
        losses = any(oddity["loss"] for oddity in self.users.get("oddities", ()))
        return not (self.problems or losses or any(index["failed"] for index in self.indexes))


def _print(report: Mapping[str, Any]) -> None:
    for index in report["indexes"]:
        is_dry = report["dry_run"]
        counts = (
            f"{counted(index['files'], 'file')}, {index['imported']} "
            f"{'to import' if is_dry else 'imported'}, {index['existing']} existed already, "
            f"{index['failed']} failed"
        )
        values = [f"; {key} = {text}" for key, text in index["values"].items() if is_dry]
        print(
            printable(
                f"{index['origin']} -> {index['name']} ({index['state']}): {counts}"
                + "".join(values)
            )
        )
    print(printable(f"users with a password: {' '.join(report['accounts']) or 'none'}"))
    for file in report["files"]:
        print(printable(f"{file['index']}: {file['file']}: {file['outcome']}: {file['message']}"))
    if users := report["users"]:
        print(f"{counted(users['users'], 'user')} added, {users['users_there']} existed already")
        for oddity in users["oddities"]:
            print(printable(f"user: {oddity['what']}: {oddity['done']}"))
    for kind, title in (("left", "different here"), ("problems", "to resolve")):
        for each in report[kind]:
            print(printable(f"{title}: {each['subject']}: {each['what']}: {each['advice']}"))
    if report["problems"]:
        print("pypid: nothing was imported: see the lines `to resolve`", file=sys.stderr)


# --- the import -----------------------------------------------------------------------------------


@define
class Importer:
    """Imports a planned export from the `folder`, with one request after another."""

    folder: int
    plan: DevpiPlan
    report: Report
    names: Mapping[str, str]
    """See `Choices.names`."""
    _done: int = 0
    _shown: float = field(factory=time.monotonic)

    def steps(self) -> Generator[ControlRequest, Any, None]:
        """Yield the requests, and receive the answers. Raises `ControlRefused` if pypid cannot
        continue.
        """
        from pypid.core.devpi import compare_existing

        answer = yield _request("GET", "/api/indexes")
        existing = {index["name"]: index["values"] for index in answer["indexes"]}
        problems, left = compare_existing(self.plan, existing, self.names)
        self.report.problems.extend(map(asdict, problems))
        self.report.left.extend(map(asdict, left))
        if self.report.problems:
            return
        if not self.report.dry_run and self.plan.accounts["users"]:
            yield from self._users()
        for index in self.plan.indexes:
            yield from self._index(index, existing.get(index.name))

    def _users(self) -> Generator[ControlRequest, Any, None]:
        from pypid.daemon.control import ControlRefused

        answer = yield _request("POST", "/api/acl", self.plan.accounts, takes_refusal=True)
        if isinstance(answer, ControlRefused):
            self._leave("users", "no account was created", str(answer))
        else:
            self.report.users.update(answer)

    def _index(
        self, index: PlannedIndex, values: Mapping[str, str] | None
    ) -> Generator[ControlRequest, Any, None]:
        """Import an index. `values`: its settings, if it exists."""
        from pypid.core.devpi import CLOSED, is_closed

        is_new, is_dry = values is None, self.report.dry_run
        needs_settings = not is_dry and (values is None or is_closed(values))
        if is_new and not is_dry:
            closed = {"name": index.name, "values": {**index.values, **CLOSED}}
            yield _request("POST", "/api/indexes", closed)
        yield from self._files(index, is_new=is_new)
        if needs_settings:
            answer = yield _request(
                "PATCH",
                f"/api/indexes/{index.name}",
                {"values": {**dict.fromkeys(CLOSED), **index.values}},
            )
            for warning in answer.get("warnings", ()):
                self._leave(
                    index.origin,
                    warning.removesuffix("."),
                    f"to change its users and groups, use `pypid index set {index.name}`",
                )

    def _leave(self, subject: str, what: str, advice: str) -> None:
        from pypid.core.devpi import ImportRemark

        self.report.left.append(asdict(ImportRemark(subject, what, advice)))

    # --- files ------------------------------------------------------------------------------------

    def _files(self, index: PlannedIndex, *, is_new: bool) -> Generator[ControlRequest, Any, None]:
        counts, projects = {"imported": 0, "existing": 0, "failed": 0}, dict[str, bool]()
        state = "exists" if not is_new else "new" if self.report.dry_run else "created"
        for begin in range(0, len(index.files), AT_ONCE):
            files = index.files[begin : begin + AT_ONCE]
            if is_new and self.report.dry_run:
                states = ["missing"] * len(files)
            else:
                wanted = [{"filename": each.filename, "sha256": each.sha256} for each in files]
                survey = _request("POST", f"/{index.name}/api/import/survey", {"files": wanted})
                states = (yield survey)["states"]
            for file, there in zip(files, states, strict=True):
                outcome = yield from self._file(index, file, there)
                counts[outcome] += 1
                projects[file.project] = projects.get(file.project, False) or outcome != "failed"
                self._tell()
        for project, has_files in projects.items():
            if not has_files:
                self._leave(
                    index.origin, f"the project {project}, which has no valid file", NO_FILE
                )
        self.report.indexes.append(
            {
                "origin": index.origin,
                "name": index.name,
                "state": state,
                "files": len(index.files),
                **counts,
                "values": dict(index.values),
            }
        )

    def _file(
        self, index: PlannedIndex, file: DevpiFile, state: str
    ) -> Generator[ControlRequest, Any, str]:
        """Import a file; return its outcome, a key of the counts in the report."""
        if state == "same":
            return "existing"
        if state == "missing" or (state == "different" and file.sha256 is None):
            return (yield from self._send(index, file))
        self._note(index, file, "not imported", _REASONS[state])
        return "failed"

    def _send(self, index: PlannedIndex, file: DevpiFile) -> Generator[ControlRequest, Any, str]:
        from pypid.daemon.control import ControlRefused, FileForm

        try:
            with open_in(self.folder, file.path) as content:
                if self.report.dry_run:
                    return "imported"
                size = os.fstat(content.fileno()).st_size
                form = FileForm(file.fields, file.filename, content, size)
                answer = yield _request(
                    "POST", f"/{index.name}/api/import", form=form, takes_refusal=True
                )
        except BadRequest as error:
            self._note(index, file, "not imported", str(error))
            return "failed"
        if isinstance(answer, ControlRefused):
            if answer.status >= 500:
                raise ControlRefused(STOPPED.format(answer), answer.status)
            self._note(index, file, "not imported", str(answer))
            return "failed"
        for problem in answer["problems"]:
            self._note(index, file, "imported", problem)
        return "existing" if answer["outcome"] == "unchanged" else "imported"

    def _note(self, index: PlannedIndex, file: DevpiFile, outcome: str, message: str) -> None:
        self.report.files.append(
            {
                "index": index.name,
                "file": "/".join(file.path),
                "outcome": outcome,
                "message": message,
            }
        )

    def _tell(self) -> None:
        self._done += 1
        if (now := time.monotonic()) - self._shown >= SECONDS:
            self._shown = now
            print_progress({"said": f"{self._done} of {self.plan.files} files"})


_REASONS = {
    "different": "the index has other content under this name, which is not replaced",
    "deleted": "a file of this name was deleted in the index",
    "invalid": "this is not the name of a wheel or an sdist",
}


def _request(
    method: str, url: str, document: Mapping[str, Any] | None = None, **more: Any
) -> ControlRequest:
    from pypid.daemon.control import ControlRequest

    return ControlRequest(method, url, document, **more)


COMMAND = command(
    "import-devpi",
    _run,
    "import users, indexes and files of a devpi-server",
    argument(
        "folder", metavar="EXPORTFOLDER", type=Path, help="the folder that devpi-export has written"
    ),
    flag("--dry-run", help="only report what would be done"),
    argument(
        "--name",
        metavar="USER/INDEX=NAME",
        action="append",
        default=[],
        help="the name of an index here; can be repeated",
    ),
    argument(
        "--mirror",
        metavar="USER/INDEX=UPSTREAM",
        action="append",
        default=[],
        help="the upstream that a mirror index shows: public, or the NAME of an "
        "[upstream:NAME] section; can be repeated",
    ),
    examples=EXAMPLES,
)
