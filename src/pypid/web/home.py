"""The first page, for people, and `/health` and `/ready`, for machines."""

from __future__ import annotations

from html import escape

from pypid import __version__
from pypid.core.permissions import EVERYONE, Action, Identity
from pypid.core.simple import finished
from pypid.web.documents import send_json
from pypid.web.face import Face, app
from pypid.web.finished import FinishedPage
from pypid.web.guard import ANYBODY, guarded
from pypid.web.request import Request
from pypid.web.respond import send_page, set_head

AGAIN = 5
"""Seconds after which it is worth while to ask again."""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>pypid</title><meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body>
<h1>A Python package index</h1>
<p><a href="simple/">All projects</a></p>
<h2>Install</h2>
<pre>pip install --index-url {base}/simple/ PROJECT
uv pip install --default-index {base}/simple/ PROJECT</pre>
<h2>Publish</h2>
<pre>twine upload --repository-url {base}/legacy/ dist/*
uv publish --publish-url {base}/legacy/ dist/*</pre>
<p>pypid {version}</p>
</body>
</html>
"""


@guarded(app, "/", may=Action.READ)
async def home(face: Face, request: Request, who: Identity) -> None:
    """How to use this index."""
    base = face.base_url(request) or ""
    body = _PAGE.format(base=escape(base), version=__version__).encode()
    page = finished(body, "text/html; charset=utf-8")
    await send_page(request, FinishedPage(page, face.world.blocking), restricted=face.restricted)


@guarded(app, "/health", may=ANYBODY)
async def health(face: Face, request: Request, who: Identity) -> None:
    """200 as long as the process answers; the condition of its parts is told besides, and how far comparing is."""
    send_json(request, {"status": "ok", **_condition(face)})


@guarded(app, "/ready", may=ANYBODY)
async def ready(face: Face, request: Request, who: Identity) -> None:
    """200 while clients should be sent here, 503 while they should be sent to another one, if there is one."""
    said = _condition(face)
    if said["ready"]:
        return send_json(request, {"status": "ok", **said})
    set_head(request, 503, ((b"Retry-After", b"%d" % AGAIN),))
    return send_json(request, {"status": "unavailable", **said}, 503)


def _condition(face: Face) -> dict[str, object]:
    """What is remembered of the parts: nothing here waits for any of them, and nothing tells where they are."""
    condition, under_way = face.condition, face.index.comparing
    access = condition.access() and face.closed is None
    cache, storage = condition.cache(), condition.storage()
    # who need not log in needs no accounts; and a catalog that is away shows for a while what it held
    needs_accounts = face.closed is not None or face.rules.read != EVERYONE
    readable = storage and condition.shows() and (access or not needs_accounts)
    said: dict[str, object] = {
        "ready": readable and not condition.stopping,
        "access": access,
        "cache": cache,
        "storage": storage,
        "complete": face.index.catalog.was_complete,
    }
    if under_way is not None:
        said["comparing"] = {"objects": under_way.objects, "projects": under_way.projects}
    if condition.stopping:
        said["stopping"] = True
    return said
