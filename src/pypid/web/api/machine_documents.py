"""Documents of the JSON API about the server: the configuration in force, and upstream indexes."""

from __future__ import annotations

from typing import TypedDict

from pypid.core.configuration.choices import Mode
from pypid.web.app.descriptions import Moment


class KeyDocument(TypedDict):
    """A key of the configuration. `value` is ``(set)`` for a secret; `origin`: a file and line, a
    variable, or ``default``.

    `takes_effect` by a ``reload`` or a ``restart``; `waits`: the file has another value by now,
    which waits for a restart.
    """

    key: str
    value: str
    origin: str
    takes_effect: str
    waits: bool


class SectionDocument(TypedDict):
    """A section of the configuration."""

    section: str
    keys: list[KeyDocument]


class ConfigurationDocument(TypedDict):
    """The configuration in force. `text` is what ``pypid check-config`` prints."""

    text: str
    sections: list[SectionDocument]


class OutageDocument(TypedDict):
    """An outage of upstream: since when it was noticed, and the error."""

    since: Moment | None
    error: str


class UpstreamFacts(TypedDict):
    """The state of one upstream: the URLs of its indexes, and its cached files. `outage` is null if
    it answered the last request.
    """

    indexes: list[str]
    outage: OutageDocument | None
    ttl: str
    cooldown: str
    kept: int | None
    kept_size: int | None


class NamedUpstreamDocument(UpstreamFacts):
    """A further upstream (``[upstream:<name>]``), and the names that it is for (`only`)."""

    name: str
    only: list[str]


class UpstreamDocument(UpstreamFacts):
    """The settings in force for upstream projects. `outage` is null if upstream answered the last
    request.

    `ttl` and `cooldown` are spelled as in the configuration; `limit`, in bytes, is of the caches of
    all upstreams, or null. `kept` and `kept_size` are without those of `upstreams`. `order`: the
    upstreams that the default index asks.
    """

    mode: Mode
    reserved: list[str]
    allow: list[str]
    deny: list[str]
    blend: list[str]
    limit: int | None
    upstreams: list[NamedUpstreamDocument]
    order: list[str]
