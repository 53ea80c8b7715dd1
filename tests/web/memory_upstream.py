"""Another index, in memory, that takes down every name that it hears; and what belongs behind a
pypid that asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256

from attrs import define, field
from msgspec.structs import replace

from pypid.core.errors import NotThere, PypidError
from pypid.core.model import File, ListedFile, Listing, Span, Status, in_order
from pypid.core.packaging.names import ProjectName, listed_version, project_name
from pypid.flow import BytesBody
from pypid.ports import Body, Upstream
from tests.support.worlds import BEGINNING

FILES = "https://files.elsewhere.example/"
INDEX = "https://elsewhere.example/simple/"


@define(eq=False)
class Elsewhere:
    """An index that has what `has` gave it. `heard` are the names, by page or by file, in the order
    they came.
    """

    heard: list[str] = field(factory=list)
    urls: list[str] = field(factory=list)
    """Of the files, and of what lies beside them, that were asked for."""
    away: PypidError | None = None
    """What every question ends with from now on."""
    now: Callable[[], datetime] = lambda: BEGINNING
    statuses: dict[str, Status] = field(factory=dict)
    _files: dict[str, dict[str, File]] = field(factory=dict)
    _bytes: dict[str, bytes] = field(factory=dict)

    def has(
        self,
        name: str,
        filename: str,
        data: bytes,
        uploaded: datetime | None = BEGINNING,
        **fields: object,
    ) -> File:
        """From now on it has this file; what its page says of it."""
        project = project_name(name)
        version = listed_version(filename, project)
        assert version is not None, filename
        file = ListedFile(
            project=project,
            filename=filename,
            version=version,
            sha256=sha256(data).hexdigest(),
            size=len(data),
            uploaded=uploaded,
            source=f"{FILES}{project}/{filename}",
        )
        file = replace(file, **fields)  # type: ignore[arg-type]
        self._files.setdefault(project, {})[filename] = file
        assert file.source is not None
        self._bytes[file.source] = data
        return file

    def has_beside(self, file: File, data: bytes) -> None:
        """It serves these bytes as the file's metadata, and says so."""
        assert file.source is not None
        self._bytes[f"{file.source}.metadata"] = data
        self._files[file.project][file.filename] = replace(
            file, metadata_sha256=sha256(data).hexdigest(), metadata_offered=True
        )

    def has_not(self, name: str) -> None:
        """It does not have the project any more."""
        del self._files[name]

    # --- Upstream ---

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        self.heard.append(name)
        self._there()
        files = self._files.get(name)
        return Listing(
            name=name,
            files=None if files is None else in_order(tuple(files.values())),
            confirmed=self.now(),
            index=INDEX,
            status=self.statuses.get(name, Status.ACTIVE),
        )

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        self._there()
        return tuple(map(project_name, sorted(self._files)))

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        self.heard.append(url.removeprefix(FILES).partition("/")[0])
        self.urls.append(url)
        self._there()
        data = self._bytes.get(url)
        if data is None:
            raise NotThere(url.rpartition("/")[2])
        return BytesBody(data if span is None else data[span.start : span.stop])

    def _there(self) -> None:
        if self.away is not None:
            raise self.away


_: type[Upstream] = Elsewhere
