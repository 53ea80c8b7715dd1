"""The lookup of the configuration file: which file a command takes if none is named, and the data
folder where there is no file at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import PurePath, PurePosixPath
from typing import Protocol

from attrs import field, frozen

from pypid.core.errors import CannotStart

VARIABLE = "PYPID_CONFIG"
"""The environment variable that names the configuration file."""
LOCAL_FILES = ("pypid.ini", "etc/pypid.ini")
"""The files that are looked for in the current folder."""
SYSTEM_FILE = "/etc/pypid/pypid.ini"
SYSTEM_DATA = "/var/lib/pypid"
BUILT_IN = "built-in defaults"
"""The last part of the path that stands for the built-in defaults; the rest is the data folder."""


class Filesystem(Protocol):
    """What the lookup needs to know of files. All but `may_write` raise `OSError`."""

    def lstat(self, path: str) -> os.stat_result:
        """Return the status of the file, of a symbolic link itself."""

    def stat(self, path: str) -> os.stat_result:
        """Return the status of the file, of the target of a symbolic link."""

    def resolve(self, path: str) -> str:
        """Return the absolute path without symbolic links."""

    def may_write(self, folder: str) -> bool:
        """Return whether the caller may create files in the folder."""


@frozen
class Caller:
    """The process that looks for its configuration. `home` is empty if the user has none."""

    environ: Mapping[str, str] = field(repr=False)
    folder: str
    """The current folder, absolute."""
    user: int
    group: int
    home: str


@frozen
class FoundConfig:
    """The file to read, or the built-in defaults (`is_built_in`), and the reason for the choice."""

    file: str
    reason: str
    passed_over: tuple[str, ...] = ()
    """A line for each file that exists but is not trusted."""


def is_built_in(file: str | PurePath) -> bool:
    """Return whether the path stands for the built-in defaults."""
    return PurePosixPath(file).name == BUILT_IN


def display_name(file: str | PurePath) -> str:
    """Return the name of the configuration for messages."""
    return BUILT_IN if is_built_in(file) else str(file)


def find_config(option: str | None, caller: Caller, files: Filesystem) -> FoundConfig:
    """Return the configuration to use: that of `option` (``--config``), of ``$PYPID_CONFIG``,
    ``./pypid.ini``, ``./etc/pypid.ini``, ``/etc/pypid/pypid.ini``, or the built-in defaults.

    A file in the current folder counts only if it and its folder belong to root or the caller, and
    other users and their groups cannot write to them. Raises `CannotStart` if there is no folder
    for data.
    """
    if option is not None:
        return FoundConfig(option, "--config")
    if named := caller.environ.get(VARIABLE):
        return FoundConfig(named, f"${VARIABLE}")
    passed_over: list[str] = []
    for name in LOCAL_FILES:
        objection = _objection(name, caller, files)
        if objection is None:
            return FoundConfig(name, "in the current folder", tuple(passed_over))
        if objection:
            passed_over.append(
                f"{name} in the folder {caller.folder} was not used: {objection}. To use it, "
                f"name it: --config {name}"
            )
    if _exists(SYSTEM_FILE, files):
        return FoundConfig(SYSTEM_FILE, "of this machine", tuple(passed_over))
    data = default_data(caller, files)
    return FoundConfig(f"{data}/{BUILT_IN}", "no file was found", tuple(passed_over))


def default_data(caller: Caller, files: Filesystem) -> str:
    """Return the data folder of the built-in defaults: ``$STATE_DIRECTORY``, ``/var/lib/pypid`` if
    the caller may write there, or ``pypid`` in the user's XDG data folder. Raises `CannotStart`.
    """
    if systemd := caller.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return systemd
    if files.may_write(SYSTEM_DATA):
        return SYSTEM_DATA
    base = caller.environ.get("XDG_DATA_HOME", "")
    if base.startswith("/"):  # the specification ignores relative paths
        return f"{base.rstrip('/')}/pypid"
    if not caller.home.startswith("/"):
        raise CannotStart(
            "There is no folder for the data: the user has no home folder. Set STATE_DIRECTORY to "
            "a folder, or name a configuration file with --config."
        )
    return f"{caller.home.rstrip('/')}/.local/share/pypid"


def _objection(name: str, caller: Caller, files: Filesystem) -> str | None:
    """Return why the file in this folder must not be used: "" if there is none, None if it may."""
    path = f"{caller.folder.rstrip('/')}/{name}"
    try:
        files.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"it cannot be examined ({error.strerror})"
    try:
        return next(_objections(path, caller, files), None)
    except FileNotFoundError:
        return "it is a symbolic link to a missing file"
    except OSError as error:
        return f"it cannot be examined ({error.strerror})"


def _objections(path: str, caller: Caller, files: Filesystem) -> Iterator[str]:
    if not stat.S_ISREG(files.stat(path).st_mode):
        yield "it is not a file"
    resolved = files.resolve(path)
    checked = [path]
    while checked[-1] != caller.folder:
        checked.append(str(PurePosixPath(checked[-1]).parent))
    # the target of a link may be elsewhere
    for each in dict.fromkeys([*checked, resolved, str(PurePosixPath(resolved).parent)]):
        what = "it" if each == path else each
        for status in (files.lstat(each), files.stat(each)):
            if status.st_uid not in (0, caller.user):
                yield f"{what} belongs to another user (id {status.st_uid})"
            if stat.S_ISLNK(status.st_mode):  # the mode of a link itself means nothing
                continue
            if status.st_mode & stat.S_IWOTH:
                yield f"every user can write to {what}"
            if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid, caller):
                yield f"the group with id {status.st_gid} can write to {what}"


def _is_own_group(group: int, caller: Caller) -> bool:
    """Return whether the group has no members but root and the caller: it is that of root, or the
    caller's private one, which by convention has the number of the user.
    """
    return group == 0 or group == caller.user == caller.group


def _exists(path: str, files: Filesystem) -> bool:
    """Return whether the file exists. One that cannot be examined does: reading it says why."""
    try:
        files.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
