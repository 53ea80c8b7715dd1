"""What is remembered of who was given which file; `web.api.downloads` tells it."""

from __future__ import annotations

from pypid.core.accounts.entries import DownloadEntry
from pypid.core.model import File
from pypid.core.permissions import Identity
from pypid.web.app.app import App, user_of
from pypid.web.http.request import Request


def given(face: App, request: Request, who: Identity, file: File) -> None:
    """Remember that the file, or some part of it, is given to somebody now, or an address where
    they get it.

    Also a part, and what breaks off: who has all bytes but one has the file. Not what HEAD asks,
    which gives nothing; not a file of theirs of which nobody knows the digest.
    """
    if request.method == b"GET":
        note_given(face, who, request.client_address(), file)


def note_given(face: App, who: Identity, client: str | None, file: File) -> None:
    """As `given`, to somebody at this address."""
    if face.registry is None or file.sha256 is None:
        return
    face.downloads.note(
        DownloadEntry(
            when=face.world.now(),
            sha256=file.sha256,
            project=file.project,
            filename=file.filename,
            who=user_of(who),
            where=client or "",
            token=who.token,
        )
    )
