"""All the routes together. A start does not need this module: see `web.routes`."""

from __future__ import annotations

from pypid.web import (
    audit,
    cached,
    clientfiles,
    collecting,
    compare,
    configuration,
    contents,
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
    news,
    oidc,
    openapi,
    people,
    pypicache,
    reaching_out,
    registering,
    rights,
    searching,
    sessions,
    simple,
    snapshots,
    storage,
    tiering,
    tokens,
    uploads,
    usage,
    why,
)
from pypid.web.face import App, FaceSettings, app
from pypid.web.pypicloud import accounts, acl, admin, listing, packages, permissions, posts
from pypid.web.routes import resource
from pypid.web.ui import (
    account,
    assets,
    deeds,
    inviting,
    login,
    project,
    register,
    settings,
    upload,
    users,
    versions,
)
from pypid.web.ui import audit as audit_page
from pypid.web.ui import compare as compare_page
from pypid.web.ui import configuration as configuration_page
from pypid.web.ui import contents as contents_page
from pypid.web.ui import groups as group_pages
from pypid.web.ui import home as first_page
from pypid.web.ui import manage as manage_page
from pypid.web.ui import rights as right_pages
from pypid.web.ui import search as search_page
from pypid.web.ui import snapshots as snapshots_page
from pypid.web.ui import storage as storage_page
from pypid.web.ui import tokens as token_page
from pypid.web.ui import upstream as upstream_page
from pypid.web.ui import why as why_page

ROOMS = (
    simple,
    local,
    moments,
    snapshots,
    files,
    contents,
    compare,
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
    news,
    searching,
    packages,
    accounts,
    admin,
    permissions,
    acl,
    posts,
    listing,
    assets,
    first_page,
    search_page,
    configuration,
    usage,
    reaching_out,
    manage_page,
    upstream_page,
    storage_page,
    snapshots_page,
    configuration_page,
    why_page,
    project,
    versions,
    contents_page,
    compare_page,
    upload,
    settings,
    deeds,
    login,
    register,
    account,
    users,
    inviting,
    group_pages,
    right_pages,
    token_page,
    audit_page,
)
"""The modules whose routes make up the face; importing them is what registers the routes."""


__all__ = ["ROOMS", "App", "FaceSettings", "app", "resource"]
