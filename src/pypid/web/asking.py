"""What a request may cause upstream: who sends it, and which pypids it has come through."""

from __future__ import annotations

from pypid.core.errors import PypidError
from pypid.core.names import project_name
from pypid.core.permissions import Action, Identity, demand
from pypid.core.via import read_via
from pypid.index.asking import Asked
from pypid.web.face import Face
from pypid.web.request import Request


def provenance_below(face: Face, request: Request) -> str | None:
    """The URL below which the provenance objects are, as the client reaches them."""
    base = face.base_url(request)
    return None if base is None else f"{base}/integrity/"


def asked_of(face: Face, request: Request, who: Identity, project: str | None = None, *, local: bool = False) -> Asked:
    """On whose behalf the index looks for the project. Raises `BadName`."""
    refusal: PypidError | None = None
    try:
        demand(face.rules, who, Action.FETCH, None if project is None else project_name(project))
    except PypidError as error:
        refusal = error
    hops = request.requestHeaders.getRawHeaders(b"via")
    via = read_via(value.decode("latin-1") for value in hops) if hops else ()
    return Asked(via, refusal, local)
