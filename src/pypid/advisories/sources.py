"""Where advisories come from: an archive or a folder on this machine, an HTTP server, a bucket.

Each source gives a zip archive; a folder is packed into one. A `version` identifies what
was read before, so that an unchanged source is not parsed again.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit
from zipfile import ZIP_STORED, ZipFile

import msgspec
from attrs import field, frozen
from twisted.internet.defer import TimeoutError
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from pypid import __version__
from pypid.advisories.archive import LONGEST_DOCUMENT, SUFFIXES, UnusableSource
from pypid.advisories.database import time_of
from pypid.flow import World, start
from pypid.http_client.connections import Fault, fault_of
from pypid.http_client.response_body import IncomingBody

LARGEST_ARCHIVE = 2 << 30
"""Bytes of an archive."""
MOST_FILES = 400_000
"""Files of a folder."""


@frozen
class FetchedAdvisories:
    """What a source has now. The caller closes `archive`."""

    version: str
    """Tells this state from others."""
    archive: BinaryIO
    """A zip archive of all records, or of some."""
    is_delta: bool = False
    """Whether the archive has modified records only, and all others stay."""


class AdvisorySource(Protocol):
    """A source of advisories."""

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        """Return what the source has; None if that is the `known` version.

        Raises `UnusableSource` and `OSError`.
        """


@frozen
class LocalSource:
    """An archive, or a folder of JSON and YAML files, on this machine."""

    path: Path
    spool: Path
    """The folder for a temporary archive."""
    world: World

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        """Return what the source has, as `AdvisorySource.fetch` does."""
        found: FetchedAdvisories | None = await self.world.blocking(self._fetch, known)
        return found

    def _fetch(self, known: str) -> FetchedAdvisories | None:
        if self.path.is_dir():
            return self._packed(known)
        file = self.path.open("rb")
        status = os.fstat(file.fileno())
        version = f"file {status.st_ino} {status.st_mtime_ns} {status.st_size}"
        if version == known:
            file.close()
            return None
        if status.st_size > LARGEST_ARCHIVE:
            file.close()
            raise UnusableSource(f"it is larger than {LARGEST_ARCHIVE >> 30} GiB")
        return FetchedAdvisories(version, file)

    def _packed(self, known: str) -> FetchedAdvisories | None:
        files = list(_files_below(self.path))
        digest = blake2b(digest_size=16)
        for name, status in files:
            digest.update(
                f"{name}\0{status.st_mtime_ns}\0{status.st_size}\n".encode("utf-8", "replace")
            )
        version = f"folder {digest.hexdigest()}"
        if version == known:
            return None
        packed = temporary_archive(self.spool)
        with ZipFile(packed, "w", ZIP_STORED) as archive:
            for name, status in files:
                archived = name.encode("utf-8", "replace").decode().replace("..", "__")
                archive.writestr(archived, self._content(name, status.st_size))
        return FetchedAdvisories(version, packed)

    def _content(self, name: str, size: int) -> bytes:
        if size > LONGEST_DOCUMENT:  # the parser reports it as one that is too large
            return bytes(LONGEST_DOCUMENT + 1)
        try:
            with (self.path / name).open("rb") as file:
                return file.read(LONGEST_DOCUMENT + 1)
        except OSError:  # removed meanwhile, or not readable; the parser reports it as empty
            return b""


def temporary_archive(folder: Path) -> BinaryIO:
    """Return an open file without a name in the folder."""
    return cast(BinaryIO, TemporaryFile(dir=folder))


def _files_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each regular file with records, by its path below the folder, in order; not what is in
    hidden folders, and not through symbolic links to folders. Raises `OSError` for a folder that
    cannot be listed.
    """
    number = 0
    for where, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                number += 1
                if number > MOST_FILES:
                    raise UnusableSource(f"it has more than {MOST_FILES} files")
                path = os.path.join(where, name)  # noqa: PTH118  # one of many thousands
                with suppress(OSError):  # removed meanwhile, or a broken link
                    status = os.stat(path)  # noqa: PTH116
                    if stat.S_ISREG(status.st_mode):
                        yield os.path.relpath(path, folder), status


def _raise(error: OSError) -> None:
    raise error


# An OSV export on an HTTP server: ``.../PyPI/all.zip``, and, between full downloads, only the
# records that ``modified_id.csv`` beside it names as modified.

# Twisted's web client is not annotated
# mypy: allow-untyped-calls


PATIENCE = 60.0
"""Seconds without a byte after which a download is given up."""
LONGEST = 1800.0
"""Seconds that all requests of one refresh may take together."""
WHOLE_AFTER = timedelta(days=1)
"""Age of the last full download after which the archive is requested again: only that shows which
records were removed.
"""
OVERLAP = timedelta(hours=2)
"""Records modified so long before the last known time are requested again: the clocks of an export
and of its records differ.
"""
MOST_CHANGED = 500
"""Modified records that are requested one by one; for more the archive is downloaded."""
FUTURE = datetime.max.replace(tzinfo=UTC)
LONGEST_LIST = 64 << 20
"""Bytes of ``modified_id.csv``."""
MOST_REDIRECTS = 5
CHUNK = 1 << 20
_LIST = "modified_id.csv"


class HttpVersion(msgspec.Struct, frozen=True):
    """What is known of an export after it was read."""

    etag: str = ""
    """Of the archive."""
    last_modified: str = ""
    whole: str = ""
    """When the archive was downloaded or confirmed (ISO 8601)."""
    newest: str = ""
    """The latest time of modification in the list (ISO 8601)."""
    recent: dict[str, str] = {}
    """The records modified shortly before that, with their times: they need not be read again."""


@frozen
class ModifiedRecords:
    """What the list of modified records says."""

    newest: datetime | None
    """The latest time that is not in the future: a wrong date must not hide later ones."""
    times: Mapping[str, datetime]
    """The records that were modified after some time; one more than `MOST_CHANGED` at most."""


class NotFound(UnusableSource):
    """The server has no such file."""


@frozen
class HttpSource:
    """An OSV export. `url` may have ``user:password@``."""

    url: str = field(repr=False)
    spool: Path
    world: World
    agent: IAgent = field(repr=False)

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        """Return what the source has, as `AdvisorySource.fetch` does."""
        try:
            return await start(self._fetch(known)).addTimeout(LONGEST, self.world.clock)
        except TimeoutError:
            reason = f"it was not read within {LONGEST / 60:g} minutes"
            raise Fault(reason, timed_out=True) from None

    async def _fetch(self, known: str) -> FetchedAdvisories | None:
        before = _version(known)
        now = self.world.now()
        whole, newest = time_of(before.whole), time_of(before.newest)
        if whole is not None and newest is not None and timedelta() <= now - whole < WHOLE_AFTER:
            listed = await self._listed(newest - OVERLAP)
            if listed is not None and len(listed.times) <= MOST_CHANGED:
                return await self._delta(before, newest, listed)
        return await self._whole(before, now)

    # --- the archive ------------------------------------------------------------------------------

    async def _whole(self, before: HttpVersion, now: datetime) -> FetchedAdvisories | None:
        # before the archive, so that what is modified meanwhile is in the next delta
        listed = await self._listed(FUTURE)
        newest = "" if listed is None or listed.newest is None else listed.newest.isoformat()
        conditions = {}
        if before.etag:
            conditions["If-None-Match"] = before.etag
        elif before.last_modified:
            conditions["If-Modified-Since"] = before.last_modified
        archive = temporary_archive(self.spool)
        try:
            headers = await self._download(self.url, archive, LARGEST_ARCHIVE, conditions)
        except BaseException:
            archive.close()
            raise
        if headers is None:
            archive.close()
            return None
        version = HttpVersion(
            _header(headers, b"ETag"), _header(headers, b"Last-Modified"), now.isoformat(), newest
        )
        return FetchedAdvisories(msgspec.json.encode(version).decode(), archive)

    # --- what was modified ------------------------------------------------------------------------

    async def _listed(self, since: datetime) -> ModifiedRecords | None:
        """Return which records were modified after a time; None without a list."""
        try:
            data = await self._body(urljoin(self.url, _LIST), LONGEST_LIST)
        except (Fault, UnusableSource):
            return None
        now = self.world.now()
        found: ModifiedRecords = await self.world.thinking(modified_records, data, since, now)
        return found

    async def _delta(
        self, before: HttpVersion, newest: datetime, listed: ModifiedRecords
    ) -> FetchedAdvisories | None:
        times = {id: time.isoformat() for id, time in listed.times.items()}
        changed = [id for id, time in times.items() if before.recent.get(id) != time]
        if not changed:
            return None
        archive = temporary_archive(self.spool)
        try:
            with ZipFile(archive, "w", ZIP_STORED) as packed:
                for id in changed:
                    url = urljoin(self.url, f"{quote(id, safe='')}.json")
                    with suppress(NotFound):  # removed meanwhile: the next archive tells
                        data = await self._body(url, LONGEST_DOCUMENT)
                        name = f"{id}.json".replace("..", "__")
                        await self.world.blocking(packed.writestr, name, data)
        except BaseException:
            archive.close()
            raise
        latest = max(listed.newest or newest, newest).isoformat()
        version = msgspec.structs.replace(before, newest=latest, recent=times)
        text = msgspec.json.encode(version).decode()
        return FetchedAdvisories(text, archive, is_delta=True)

    async def _body(self, url: str, limit: int) -> bytes:
        file = temporary_archive(self.spool)
        with file:
            await self._download(url, file, limit, {})
            data: bytes = await self.world.blocking(_whole_content, file)
            return data

    # --- HTTP -------------------------------------------------------------------------------------

    async def _download(
        self, url: str, file: BinaryIO, limit: int, headers: Mapping[str, str]
    ) -> Headers | None:
        """Write a response to the file; return its headers, None for 304 Not Modified. Raises
        `Fault` and `UnusableSource`.
        """
        for _ in range(MOST_REDIRECTS + 1):
            answer = start(self._response(url, headers)).addTimeout(PATIENCE, self.world.clock)
            try:
                response = await answer
            except TimeoutError:
                reason = f"it did not answer within {PATIENCE:g} seconds"
                raise Fault(reason, timed_out=True) from None
            body = IncomingBody(response, self.world.clock, PATIENCE)
            try:
                location = _header(response.headers, b"Location")
                if response.code in (301, 302, 303, 307, 308) and location:
                    url = _redirected(url, location)
                    continue
                if response.code == 304 and headers:
                    return None
                if response.code in (404, 410):
                    raise NotFound(f"it answered with the status {response.code}")
                if response.code != 200:
                    raise UnusableSource(f"it answered with the status {response.code}")
                await self._write(body, file, limit)
                found: Headers = response.headers
                return found
            finally:
                await body.aclose()
        raise UnusableSource(f"it redirects more than {MOST_REDIRECTS} times")

    async def _response(self, url: str, headers: Mapping[str, str]) -> Any:
        target, authorization = _target(url)
        fields = {**headers, "User-Agent": f"pypid/{__version__}", "Accept-Encoding": "identity"}
        if authorization is not None:
            fields["Authorization"] = authorization
        sent = Headers({name: [value] for name, value in fields.items()})
        try:
            return await self.agent.request(b"GET", target, sent)
        except Exception as error:
            raise fault_of(error) from None

    async def _write(self, body: IncomingBody, file: BinaryIO, limit: int) -> None:
        pieces, waiting, size = list[bytes](), 0, 0
        async for piece in body:
            pieces.append(piece)
            waiting += len(piece)
            size += len(piece)
            if size > limit:
                raise UnusableSource(f"it has more than {limit >> 20} MiB")
            if waiting >= CHUNK:
                await self.world.blocking(file.write, b"".join(pieces))
                pieces, waiting = [], 0
        await self.world.blocking(file.write, b"".join(pieces))


def modified_records(data: bytes, since: datetime, now: datetime) -> ModifiedRecords:
    """Return what ``modified_id.csv`` says. Lines that have no time or no id are skipped."""
    newest: datetime | None = None
    times: dict[str, datetime] = {}
    for line in BytesIO(data):
        text, _, written = line.decode("utf-8", "replace").partition(",")
        time, id = time_of(text.strip()), written.strip().rpartition("/")[2]
        if time is None or not id:
            continue
        if time <= now:
            newest = time if newest is None else max(newest, time)
        if time > since and len(times) <= MOST_CHANGED:
            times[id] = max(time, times.get(id, time))
    return ModifiedRecords(newest, times)


def _whole_content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _version(text: str) -> HttpVersion:
    try:
        return msgspec.json.decode(text, type=HttpVersion)
    except msgspec.MsgspecError:
        return HttpVersion()


def _header(headers: Headers, name: bytes) -> str:
    values = headers.getRawHeaders(name)
    return values[0].decode("latin-1") if values else ""


def _target(url: str) -> tuple[bytes, str | None]:
    """Return the URL without user and password, and these as HTTP Basic authentication."""
    split = urlsplit(url)
    user, at, host = split.netloc.rpartition("@")
    target = urlunsplit(split._replace(netloc=host, fragment=""))
    try:
        if split.scheme not in ("http", "https") or not host:
            raise ValueError
        encoded = target.encode("ascii")
    except ValueError:
        raise UnusableSource("its address, or a redirect, is no http or https URL") from None
    if not at:
        return encoded, None
    return encoded, "Basic " + base64.b64encode(unquote(user).encode()).decode()


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads. User and password go to the same origin only."""
    old, new = urlsplit(url), urlsplit(urljoin(url, location))
    host = new.netloc.rpartition("@")[2]
    user = old.netloc.rpartition("@")[0]
    if old.scheme == "https" and new.scheme == "http":
        raise UnusableSource("it redirects from https to http")
    if user and (old.scheme, old.netloc.rpartition("@")[2]) == (new.scheme, host):
        host = f"{user}@{host}"
    return urlunsplit(new._replace(netloc=host))
