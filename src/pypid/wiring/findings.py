"""Findings about a configuration, and what the user who runs pypid may do with files."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from pwd import getpwuid

from attrs import frozen

from pypid.core.errors import CannotStart
from pypid.daemon.state import owner_of

_ROOT = 0


@frozen
class ServiceUser:
    """The user who runs pypid: the caller, or for root the owner of the state folder."""

    uid: int | None = None
    """None: the caller."""

    @classmethod
    def of(cls, state: Path) -> ServiceUser:
        """Return the user who runs pypid with this state folder."""
        try:
            owner = state.stat().st_uid
        except OSError:
            return cls()
        return cls(owner) if os.geteuid() == _ROOT != owner else cls()

    @property
    def name(self) -> str:
        """The user's name, or the number of a user without one."""
        uid = os.geteuid() if self.uid is None else self.uid
        try:
            return getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def may_read(self, path: Path) -> bool:
        """Return whether the user may read the file. Blocks briefly."""
        return self._may(path, os.R_OK, "-r")

    def may_change(self, folder: Path) -> bool:
        """Return whether the user may list, enter and change the folder. Blocks briefly."""
        return all(
            self._may(folder, mode, test)
            for mode, test in ((os.R_OK, "-r"), (os.W_OK, "-w"), (os.X_OK, "-x"))
        )

    def _may(self, path: Path, mode: int, test: str) -> bool:
        if self.uid is None:
            return os.access(path, mode)
        try:
            account = getpwuid(self.uid)
            group, groups = account.pw_gid, os.getgrouplist(account.pw_name, account.pw_gid)
        except KeyError:  # a number without a name, as in a container
            group, groups = self.uid, []
        command = ["test", test, str(path)]
        done = subprocess.run(command, user=self.uid, group=group, extra_groups=groups, check=False)
        return done.returncode == 0


def exists(path: Path) -> bool:
    """Return whether there is such a file or folder; False below a folder that cannot be entered,
    where `Path.exists` raises `PermissionError`.
    """
    return os.access(path, os.F_OK)


def file_problems(path: Path, user: ServiceUser) -> Iterator[str]:
    """Yield why the user cannot read the file, if that is so, with what to do."""
    if exists(path) and path.is_file() and not user.may_read(path):
        yield (
            f"the user {user.name} cannot read {path}, which belongs to {owner_of(path)}; give "
            "that user the right to read the file and to enter its folders"
        )
    elif not exists(path):
        yield f"there is no file {path}, or its folder cannot be entered; correct the path"
    elif not path.is_file():
        yield f"{path} is no file; name a PEM file"


def folder_problems(folder: Path, user: ServiceUser) -> Iterator[str]:
    """Yield why the user cannot use the folder or create it, if that is so, with what to do."""
    existing = next(each for each in (folder, *folder.parents) if exists(each))
    if not existing.is_dir():
        yield f"{existing} is no folder; name another one"
    elif not user.may_change(existing):
        what = (
            f"use the folder {folder}"
            if existing == folder
            else f"create the folder {folder} in {existing}"
        )
        yield (
            f"the user {user.name} cannot {what}, which belongs to {owner_of(existing)}; give that "
            "user the rights (chown, chmod u+rwx), or name another folder"
        )


# A finding about a key of the configuration, and the messages of errors as findings.

_KEY_IN_FRONT = re.compile(r"\A\[(?P<section>[a-z]+)\] (?P<key>[a-z_]+):? (?!=)")


@frozen
class ConfigFinding:
    """What is wrong with the value of a key, and what to write or do. A warning does not stop a
    start.
    """

    section: str
    key: str
    message: str
    is_warning: bool = False


def refusals(section: str, key: str, attempt: Callable[[], object]) -> Iterator[ConfigFinding]:
    """Yield a problem if `attempt` raises `CannotStart`: with the key that the error begins with,
    or else with this key.
    """
    try:
        attempt()
    except CannotStart as error:
        text = str(error)
        if found := _KEY_IN_FRONT.match(text):
            section, key, text = found["section"], found["key"], text[found.end() :]
        yield ConfigFinding(section, key, text)
