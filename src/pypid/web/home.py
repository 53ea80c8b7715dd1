"""The first page, for people, and `/health`, for machines."""

from __future__ import annotations

from html import escape

from pypid import __version__
from pypid.core.permissions import Action, Identity
from pypid.core.simple import finished
from pypid.web.documents import send_json
from pypid.web.face import Face, app
from pypid.web.finished import FinishedPage
from pypid.web.guard import ANYBODY, guarded
from pypid.web.request import Request
from pypid.web.respond import send_page

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
    """200 as long as the process answers; whether the storage has been compared is told besides, and how far that is."""
    document: dict[str, object] = {"status": "ok", "complete": await face.index.catalog.is_complete()}
    under_way = face.index.comparing
    if under_way is not None:
        document["comparing"] = {"objects": under_way.objects, "projects": under_way.projects}
    send_json(request, document)
