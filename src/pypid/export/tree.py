"""The folder that an export writes, its options, and its paths: existing pages are left alone,
changed ones are replaced atomically.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from stat import S_ISREG
from typing import NamedTuple

from attrs import define, field, frozen

from pypid.core.errors import BadName
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, listed_version, project_name
from pypid.core.simple_api.listed_files import quoted

# The options of an export and the paths in an exported tree.

MANIFEST = ".pypid-export.json"
"""The file at the root of a tree that says which index and view it belongs to (see `Stamp`)."""
SIDECAR_SUFFIXES = (".metadata", ".asc")
"""Suffixes of the sidecar files of a file. Older exports have PGP signatures."""
FOLDERS = ("simple/{}", "pypi/{}", "packages/{}", "integrity/{}", "rss/project/{}")
"""The folders of a project."""
_SEGMENT = r"(?!\.)[^/\0-\x1f\x7f\ud800-\udfff]+"
fits = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*\Z").match
"""Match a path that is allowed in a tree: no segment begins with a dot."""
_PLAIN = re.compile(r"(?!\.)[A-Za-z0-9._+!~-]+\Z").match
_OURS = re.compile(
    r"simple/(?P<simple>[a-z0-9-]+)/index\.(?:html|json)(?:\.gz)?"
    r"|pypi/(?P<pypi>[a-z0-9-]+)/(?:[^/]+/)?json"
    r"|rss/project/(?P<rss>[a-z0-9-]+)/releases\.xml"
    r"|integrity/(?P<integrity>[a-z0-9-]+)/[^/]+/[^/]+/provenance"
    r"|packages/(?P<packages>[a-z0-9-]+)/(?P<file>[^/]+)"
).fullmatch
LONGEST_NAME = 220
"""Longest name, in bytes, of a file that is copied: file systems allow 255, and suffixes are added.
"""


@frozen(kw_only=True)
class ExportOptions:
    """What an export contains and how its links are formed.

    `base_url` is the address of the index itself, without its last slash, or None if unknown.

    With `copies` the files are in the tree. `files_url`: the absolute URL (with its last slash)
    below which they are served; `signed`: pages contain signed URLs of this lifetime. With none of
    these, links lead to where a pypid serves the files.
    """

    user: str | None = None
    """The user whose view is exported; None: what anonymous may see."""
    copies: bool = False
    files_url: str | None = None
    signed: timedelta | None = None
    base_url: str | None = None
    releases: bool = True
    """Whether each release has its legacy JSON."""
    dated: bool = False
    """Whether the HTML start page says when it was generated."""
    title: str = "Python packages"
    logo: str | None = None
    logo_width: int = 0
    """Pixels; 0: the image's own width."""
    is_list: bool = False
    """Whether a list of files is exported, for places that a pypid never served: all files are
    directly below `files_url`, and links name ``index.html``, as dumb-pypi's do.
    """

    @property
    def stored_only(self) -> bool:
        """Whether pages name only stored files. Otherwise links lead to a pypid, which fetches the
        rest.
        """
        return self.copies or self.files_url is not None or self.signed is not None


def owner_of(path: str) -> ProjectName | None:
    """Return the project of an exported page or file; None for a path that no export writes."""
    match = _OURS(path)
    if match is None:
        return None
    word = match.lastgroup if match.lastgroup != "file" else "packages"
    assert word is not None
    name = normal(match[word])
    if name is None:
        return None
    if word != "packages":
        return name
    filename = match["file"]
    for end in ("", *SIDECAR_SUFFIXES):
        if filename.endswith(end) and listed_version(filename.removesuffix(end), name) is not None:
            return name
    return None


def normal(text: str) -> ProjectName | None:
    """Return the text if it is a project name in normal form, else None."""
    try:
        return name if (name := project_name(text)) == text else None
    except BadName:
        return None


def file_path(file: File) -> str:
    """Return the path of the copy of a file."""
    return f"packages/{file.project}/{file.filename}"


def provenance_path(file: File) -> str | None:
    """Return the path of a copied provenance object; None if the version is no valid path."""
    if not _PLAIN(file.version):
        return None
    return f"integrity/{file.project}/{file.version}/{file.filename}/provenance"


def release_path(name: ProjectName, version: str) -> str | None:
    """Return the path of a release's legacy JSON; None if the version is no valid path."""
    return f"pypi/{name}/{version}/json" if _PLAIN(version) and version != "json" else None


def can_be_copied(file: File) -> bool:
    """Return whether the file's name is allowed for a copy."""
    return fits(file_path(file)) is not None and len(file.filename.encode()) <= LONGEST_NAME


def url_below(files_url: str, file: File, options: ExportOptions) -> str:
    """Return the URL of a file below `files_url`."""
    folder = "" if options.is_list else f"{file.project}/"
    return f"{files_url}{folder}{quoted(file.filename)}"


PAGE, JSON_PAGE = "index.html", "index.json"
"""The names of a page in the two formats of the Simple API."""


class WrittenPage(NamedTuple):
    """A page and its path in a tree."""

    path: str
    body: bytes


def put_all(folder: TreeFolder, pages: Iterable[WrittenPage]) -> tuple[int, int]:
    """Write the pages that differ, in order; return how many were written, and how many were the
    same.
    """
    written = same = 0
    for path, body in pages:
        if folder.have(path) == sha256(body).digest():
            same += 1
        else:
            folder.write(path, body)
            written += 1
    return written, same


@define
class TreeFolder:
    """A tree below a folder, which is created if missing. For one process, or several that write
    different files.

    Nothing is written outside it, unless another process that may write in it has put symbolic
    links to folders there.
    """

    root: str
    _known: set[str] = field(factory=set, init=False, repr=False)
    """Some of the existing folders: files of one folder are written together."""

    def have(self, path: str) -> bytes | None:
        """Return the SHA-256 of the file, or None if there is no regular file at the path."""
        try:
            # a named pipe at the path must not block
            handle = os.open(
                self._where(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a symbolic link, which is replaced by a file
                return None
            raise
        if not S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            return None
        with open(handle, "rb", buffering=0) as file:
            return sha256(file.read()).digest()

    def write(self, path: str, body: bytes) -> None:
        """Write the page atomically; it is durable only after `settle`."""
        where = self._where(path)
        try:
            self._write(where, body)
        except FileNotFoundError:  # another process has removed the folder
            self._known.clear()
            self._write(where, body)

    def _write(self, where: str, body: bytes) -> None:
        folder, _, name = where.rpartition("/")
        if folder not in self._known:
            _make(folder)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add(folder)
        temporary = f"{folder}/.{name}.{os.getpid()}.new"
        try:
            handle = os.open(
                temporary,
                os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o666,
            )
            try:
                rest = memoryview(body)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                _date(handle, where)
            finally:
                os.close(handle)
            os.rename(temporary, where)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def remove(self, path: str) -> None:
        """Remove the file, and the folders that are empty then."""
        where = self._where(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(where)
        folder = where.rpartition("/")[0]
        while folder != self.root:
            try:
                os.rmdir(folder)
            except OSError:
                return
            self._known.discard(folder)
            folder = folder.rpartition("/")[0]

    def list(self, under: str) -> Iterator[str]:
        """Yield all paths of files below the folder; half-written files of a killed run are
        removed.
        """
        folders = [self._where(under)]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as found:
                    entries = list(found)
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                path = entry.path[len(self.root) + 1 :]
                if _HALF(entry.name):
                    with suppress(OSError):
                        os.unlink(entry.path)
                elif not fits(path):
                    continue
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield path

    def is_link(self, path: str) -> bool:
        """Return whether there is a symbolic link at the path."""
        return os.path.islink(self._where(path))

    def settle(self) -> None:
        """Make everything durable with one call for the whole file system: one for each of 100,000
        files takes minutes.
        """
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), self.root)
        finally:
            os.close(handle)

    def _where(self, path: str) -> str:
        if not fits(path):
            raise ValueError(f"{path!r} is no path in a tree of pages.")
        return f"{self.root}/{path}"


def _date(handle: int, where: str) -> None:
    """Set a later second than that of the file it replaces: web servers make entity tags of a
    file's size and second, and a client would keep a page of the same size that changed twice in
    one.
    """
    try:
        before = os.stat(where, follow_symlinks=False).st_mtime_ns // 10**9
    except (FileNotFoundError, NotADirectoryError):
        return
    if os.fstat(handle).st_mtime_ns // 10**9 <= before:
        later = (before + 1) * 10**9
        os.utime(handle, ns=(later, later))


def _make(folder: str) -> None:
    """Create a folder: twice as fast as `os.makedirs` if at most the last one is missing."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)


_MOST_KNOWN = 10_000
_HALF = re.compile(r"\..+\.[0-9]+\.new\Z").match
