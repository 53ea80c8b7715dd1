"""The lookup of the configuration: the order of the places, whom a file in the current folder may
belong to, and the data folder of the built-in defaults.
"""

import os
import stat
from pathlib import PurePosixPath

from attrs import evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.lookup import (
    BUILT_IN,
    SYSTEM_FILE,
    Caller,
    FoundConfig,
    display_name,
    find_config,
    is_built_in,
)

ME, OTHER, STAFF = 1000, 1001, 50
FOLDER, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
OPEN = stat.S_IWOTH
HERE = "/srv/work"
CALLER = Caller({}, HERE, ME, ME, "/home/me")


@frozen
class Entry:
    """A file of the tests. `target`: where a symbolic link leads to."""

    mode: int = FILE
    owner: int = ME
    group: int = ME
    target: str | None = None


LINK = stat.S_IFLNK | 0o777


@frozen
class Files:
    """A file system in memory; its links are absolute, and none is part of a path."""

    entries: dict[str, Entry] = field(factory=dict)
    writable: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()

    def lstat(self, path: str) -> os.stat_result:
        if any(path.startswith(each) for each in self.locked):
            raise PermissionError(13, "Permission denied")
        if path not in self.entries:
            raise FileNotFoundError(2, "No such file or directory")
        entry = self.entries[path]
        return os.stat_result((entry.mode, 0, 0, 1, entry.owner, entry.group, 0, 0, 0, 0))

    def stat(self, path: str) -> os.stat_result:
        return self.lstat(self.resolve(path))

    def resolve(self, path: str) -> str:
        entry = self.entries.get(path)
        return path if entry is None or entry.target is None else self.resolve(entry.target)

    def may_write(self, folder: str) -> bool:
        return folder in self.writable


def tree(**changes: Entry) -> Files:
    """A current folder with pypid.ini: `here`, `file`, and what `more` says."""
    entries = {HERE: Entry(FOLDER), f"{HERE}/pypid.ini": Entry()}
    names = {"here": HERE, "file": f"{HERE}/pypid.ini"}
    return Files(entries | {names.get(name, name): entry for name, entry in changes.items()})


def with_etc(etc: Entry, file: Entry, here: Entry = Entry(FOLDER)) -> Files:
    return Files({HERE: here, f"{HERE}/etc": etc, f"{HERE}/etc/pypid.ini": file})


class OrderTests(SynchronousTestCase):
    def test_order(self) -> None:
        """--config, $PYPID_CONFIG, ./pypid.ini, ./etc/pypid.ini, /etc/pypid/pypid.ini, nothing."""
        entries = {
            HERE: Entry(FOLDER),
            f"{HERE}/pypid.ini": Entry(),
            f"{HERE}/etc": Entry(FOLDER),
            f"{HERE}/etc/pypid.ini": Entry(),
            SYSTEM_FILE: Entry(owner=0),
        }
        environ = {"PYPID_CONFIG": "/x/env.ini"}
        caller = evolve(CALLER, environ=environ)
        self.assertEqual(find_config("a.ini", caller, Files(entries)).file, "a.ini")
        found = find_config(None, caller, Files(entries))
        self.assertEqual(found, FoundConfig("/x/env.ini", "$PYPID_CONFIG"))
        for name in ("pypid.ini", "etc/pypid.ini"):
            self.assertEqual(find_config(None, CALLER, Files(entries)).file, name)
            del entries[f"{HERE}/{name}"]
        self.assertEqual(find_config(None, CALLER, Files(entries)).file, SYSTEM_FILE)
        del entries[SYSTEM_FILE]
        found = find_config(None, CALLER, Files(entries))
        self.assertEqual(found.file, f"/home/me/.local/share/pypid/{BUILT_IN}")
        self.assertTrue(is_built_in(found.file))
        self.assertEqual(display_name(found.file), BUILT_IN)
        self.assertEqual(display_name(SYSTEM_FILE), SYSTEM_FILE)


class TrustTests(SynchronousTestCase):
    def objection(self, files: Files, caller: Caller = CALLER) -> str:
        found = find_config(None, caller, files)
        self.assertTrue(is_built_in(found.file), found)
        (line,) = found.passed_over
        self.assertIn("name it: --config", line)
        return line

    def accepted(self, files: Files, name: str = "pypid.ini") -> None:
        found = find_config(None, CALLER, files)
        self.assertEqual((found.file, found.passed_over), (name, ()))

    def test_accepted(self) -> None:
        """Files of the caller and of root, also when their own group may write."""
        for owner in (ME, 0):
            for mode in (0o600, 0o644, 0o664):
                for group in (ME, 0):
                    self.accepted(tree(file=Entry(stat.S_IFREG | mode, owner, group)))
            self.accepted(tree(file=Entry(stat.S_IFREG | 0o644, owner, STAFF)))
        self.accepted(tree(here=Entry(stat.S_IFDIR | 0o2775, 0)))
        self.accepted(with_etc(Entry(FOLDER), Entry()), "etc/pypid.ini")

    def test_owner(self) -> None:
        """Neither the file nor a folder on the way may belong to another user, also not of root."""
        for files in (
            tree(file=Entry(owner=OTHER)),
            tree(here=Entry(FOLDER, OTHER)),
            with_etc(Entry(FOLDER, OTHER), Entry()),
            with_etc(Entry(FOLDER), Entry(owner=OTHER)),
            with_etc(Entry(FOLDER), Entry(), Entry(FOLDER, OTHER)),
        ):
            self.assertIn("belongs to another user (id 1001)", self.objection(files))
        root = evolve(CALLER, user=0)
        self.assertIn("belongs to another user (id 1000)", self.objection(tree(), root))

    def test_mode(self) -> None:
        """What every user can write is not used; the sticky bit of /tmp changes nothing."""
        for files in (
            tree(file=Entry(FILE | OPEN)),
            tree(here=Entry(FOLDER | OPEN, 0)),
            tree(here=Entry(FOLDER | OPEN | stat.S_ISVTX, 0)),
            with_etc(Entry(FOLDER | OPEN), Entry()),
            with_etc(Entry(FOLDER), Entry(), Entry(FOLDER | OPEN | stat.S_ISVTX, 0)),
        ):
            self.assertIn("every user can write to", self.objection(files))

    def test_group(self) -> None:
        """What another group can write is not used, nor what a shared primary group can write."""
        file, folder = stat.S_IFREG | 0o664, stat.S_IFDIR | 0o2775
        for files in (
            tree(file=Entry(file, ME, STAFF)),
            tree(here=Entry(folder, 0, STAFF)),
            with_etc(Entry(folder, ME, STAFF), Entry()),
        ):
            for group in (ME, STAFF):
                message = self.objection(files, evolve(CALLER, group=group))
                self.assertIn("the group with id 50 can write to", message)
        shared = evolve(CALLER, group=STAFF)
        self.assertIn("id 1000", self.objection(tree(file=Entry(file, ME, ME)), shared))
        root = evolve(CALLER, user=0, group=0)
        files = tree(here=Entry(FOLDER, 0), file=Entry(file, 0, ME))
        self.assertIn("id 1000", self.objection(files, root))

    def test_links(self) -> None:
        """Of a symbolic link the owner counts, and all of its target: owner, mode and folder."""
        link = Entry(LINK, target="/x/real.ini")
        good = {"/x": Entry(FOLDER), "/x/real.ini": Entry()}
        self.accepted(tree(file=link, **good))
        self.accepted(tree(file=evolve(link, owner=0), **good))
        for change, message in (
            ({"file": evolve(link, owner=OTHER)}, "belongs to another user"),
            ({"/x/real.ini": Entry(owner=OTHER)}, "belongs to another user"),
            ({"/x/real.ini": Entry(FILE | OPEN)}, "every user can write"),
            ({"/x": Entry(FOLDER | OPEN)}, "every user can write to /x"),
            ({"/x": Entry(FOLDER, OTHER)}, "/x belongs to another user"),
            ({"/x/real.ini": Entry(LINK, target="/nothing")}, "a missing file"),
        ):
            self.assertIn(message, self.objection(tree(**{"file": link, **good, **change})))

    @given(
        st.lists(
            st.builds(
                Entry,
                st.sampled_from([0o755, 0o775, 0o777, 0o1777]),
                st.integers(0, 3),
                st.integers(0, 3),
            ),
            min_size=2,
            max_size=3,
        ),
        st.integers(0, 3),
        st.integers(0, 3),
    )
    def test_rule(self, entries: list[Entry], user: int, group: int) -> None:
        """A file is used exactly if all on the way belong to root or the caller and none can be
        written by all or by another group.
        """
        path, files = PurePosixPath(HERE), {}
        *folders, file = entries
        for name, entry in zip(("", "etc"), folders, strict=False):
            path /= name
            files[str(path)] = evolve(entry, mode=stat.S_IFDIR | entry.mode)
        files[f"{path}/pypid.ini"] = evolve(file, mode=stat.S_IFREG | file.mode)
        found = find_config(None, evolve(CALLER, user=user, group=group), Files(files))
        own_groups = {0, user} if user == group else {0}
        trusted = all(
            entry.owner in (0, user)
            and not entry.mode & stat.S_IWOTH
            and (not entry.mode & stat.S_IWGRP or entry.group in own_groups)
            for entry in entries
        )
        self.assertEqual(not is_built_in(found.file), trusted)
        self.assertEqual(len(found.passed_over), not trusted)
