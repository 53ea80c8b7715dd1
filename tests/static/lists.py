"""Lists of files that the tests make trees of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pypid.static.build import BuildOutcome, build
from pypid.static.package_list import PackageList, read_json, read_names
from pypid.static.settings import StaticSettings
from pypid.static.tree import digest

HASH = "sha256=" + "0123456789abcdef" * 4
POOL = "https://files.example.com/pool/"
SETTINGS = StaticSettings(packages_url=POOL)


def names(*filenames: str) -> PackageList:
    """A list of names."""
    return read_names([f"{filename}\n".encode() for filename in filenames], "names")


def objects(*entries: dict[str, Any]) -> PackageList:
    """A list of JSON objects."""
    return read_json([msgspec.json.encode(entry) + b"\n" for entry in entries], "objects")


class Tree:
    """A target in memory that remembers what was done, in order."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.deeds: list[tuple[str, str]] = []

    def have(self, path: str) -> bytes | None:
        body = self.pages.get(path)
        return None if body is None else digest(body)

    def write(self, path: str, body: bytes) -> None:
        self.pages[path] = body
        self.deeds.append(("write", path))

    def remove(self, path: str) -> None:
        self.pages.pop(path, None)
        self.deeds.append(("remove", path))

    def list(self, under: str) -> Iterable[str]:
        return iter([path for path in self.pages if path.startswith(f"{under}/")])

    def settle(self) -> None:
        self.deeds.append(("settle", ""))

    def written(self) -> list[str]:
        """Where something was written since the last time, in order."""
        paths = [path for deed, path in self.deeds if deed == "write"]
        self.deeds.clear()
        return paths


def tree_of(listed: PackageList, settings: StaticSettings = SETTINGS) -> dict[str, bytes]:
    """All pages of a list."""
    tree = Tree()
    build(listed, tree, settings)
    return tree.pages


def built(tree: Tree, listed: PackageList, **ways: Any) -> BuildOutcome:
    """One more run."""
    return build(listed, tree, SETTINGS, **ways)
