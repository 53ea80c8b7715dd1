"""All the routes together. A start does not need this module: see `web.routes`."""

from __future__ import annotations

from pypid.web import (
    audit,
    cached,
    clientfiles,
    collecting,
    downloads,
    exporting,
    files,
    groups,
    health,
    invitations,
    legacy,
    local,
    loglevel,
    manage,
    metrics,
    moments,
    oidc,
    openapi,
    people,
    pypicache,
    registering,
    rights,
    sessions,
    simple,
    snapshots,
    storage,
    tiering,
    tokens,
    uploads,
    why,
)
from pypid.web.face import Face, FaceSettings, app
from pypid.web.pypicloud import accounts, acl, admin, listing, packages, permissions, posts
from pypid.web.routes import resource
from pypid.web.ui import assets
from pypid.web.ui import home as first_page

ROOMS = (
    simple,
    local,
    moments,
    snapshots,
    files,
    uploads,
    legacy,
    pypicache,
    collecting,
    downloads,
    manage,
    storage,
    exporting,
    cached,
    tiering,
    why,
    people,
    groups,
    rights,
    tokens,
    audit,
    sessions,
    registering,
    invitations,
    oidc,
    openapi,
    clientfiles,
    loglevel,
    metrics,
    health,
    packages,
    accounts,
    admin,
    permissions,
    acl,
    posts,
    listing,
    assets,
    first_page,
)
"""The modules whose routes make up the face; importing them is what registers the routes."""


__all__ = ["ROOMS", "Face", "FaceSettings", "app", "resource"]
