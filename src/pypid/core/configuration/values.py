"""Kinds of configuration values: how each is parsed and written, and what is allowed.

A kind's `parse` raises nothing but `ValueError` (its text, if any, is advice). `parse` reads the
output of `show` as the same value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from difflib import get_close_matches
from enum import Enum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from attrs import frozen

from pypid.core.accounts import ldap_filters
from pypid.core.cooldown import BEGINNING, Cooldown, CooldownException, Wait, specifier_of
from pypid.core.errors import BadMoment, BadRequest
from pypid.core.packaging.block_spec import BlockSpec, parse_block_spec
from pypid.core.permissions import Principals, account_name
from pypid.core.times import moment_of, parse_moment
from pypid.core.trust import SERVICES, RequiredPublisher

# Values of `[server] listen`: Twisted endpoint strings, and the short forms ``host:port``,
# ``:port`` and ``port``, which are translated to endpoint strings.

_SHORT = re.compile(r"(?:(?P<host>\[[^\]]*\]|[^:\[\]]*):)?(?P<port>[0-9]+)")
_EVERY_ADDRESS = ("", "*")
_LARGEST_PORT = 65535
_NAMED = re.compile(r"(?P<name>(?:[^=\\]|\\.)*)=(?P<value>.*)", re.DOTALL)

ENDPOINTS: Mapping[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
    ),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
"""The kinds of endpoints with their arguments, in the order of Twisted's parsers."""


def parse_endpoint(text: str) -> str:
    """Return the endpoint string that a value of `[server] listen` stands for.

    Raises `ValueError` with advice for text that Twisted would refuse.
    """
    kind, _, rest = text.partition(":")
    short = _SHORT.fullmatch(text)
    if short and kind not in ENDPOINTS:
        port = _port(short["port"])
        return _interface(short["host"] or "").format(port=port)
    if kind not in ENDPOINTS or not rest:
        raise ValueError(_unknown(text))
    for name, value in _arguments(kind, rest).items():
        if check := _CHECKS.get(name):
            check(value)
    return text


def endpoint_arguments(text: str) -> tuple[str, Mapping[str, str]]:
    """Return the kind and the arguments of an endpoint string that `parse_endpoint` returned."""
    kind, _, rest = text.partition(":")
    return kind, _arguments(kind, rest)


def _interface(host: str) -> str:
    """Return the endpoint string for a host, with a gap for the port. Raises `ValueError`."""
    if host in _EVERY_ADDRESS:
        return "tcp:{port}"
    if host == "localhost":
        return "tcp:{port}:interface=127.0.0.1"
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(
            f"{host[:80]!r} is no IP address; write one of this machine, like 0.0.0.0:8080 (all "
            "addresses) or 127.0.0.1:8080"
        ) from None
    if isinstance(address, IPv6Address):
        escaped = str(address).replace(":", "\\:")
        return f"tcp6:{{port}}:interface={escaped}"
    return f"tcp:{{port}}:interface={address}"


def _unknown(text: str) -> str:
    """Return advice for text of an unknown form."""
    host, _, port = text.rpartition(":")
    if port.isdecimal() and host.count(":") > 1:
        return f"write an IPv6 address in brackets, like [{host[:80]}]:{port[:8]}"
    return (
        f"{text[:80]!r} has none of these forms; endpoint strings begin with "
        f"{', '.join(f'{kind}:' for kind in ENDPOINTS)}"
    )


def _arguments(kind: str, text: str) -> dict[str, str]:
    """Return an endpoint string's arguments by name, as Twisted does. Raises `ValueError`."""
    known = ENDPOINTS[kind]
    found: dict[str, str] = {}
    unnamed = iter(known)
    for token in re.split(r"(?<!\\):", text):
        match = _NAMED.fullmatch(token)
        name = match["name"] if match else next(unnamed, "")
        if name not in known:
            close = get_close_matches(name, known, 1)
            advice = f"did you mean {close[0]}=?" if close else f"known: {', '.join(known)}"
            shown = f"{name}=" if name else token[:80]
            raise ValueError(f"{kind}: has no argument {shown!r}; {advice}")
        if name in found:
            raise ValueError(f"it sets {name} twice")
        found[name] = re.sub(r"\\(.)", r"\1", match["value"] if match else token)
    if not found.get(known[0]):
        raise ValueError(f"{kind}: needs a {known[0]}")
    if kind == "systemd" and ("index" in found) == ("name" in found):
        raise ValueError("systemd: needs either index= or name=, like systemd:domain=INET:index=0")
    return found


def _port(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text[:8]) > _LARGEST_PORT:
        raise ValueError(
            f"{text[:80]!r} is no port; write a number from 1 to {_LARGEST_PORT}, like 8080"
        )
    return int(text)


def _whole_number(text: str) -> int:
    if not (text.isdecimal() and text.isascii()):
        raise ValueError(f"{text[:80]!r} is no whole number")
    return int(text)


def _mode(text: str) -> None:
    if not re.fullmatch("[0-7]{1,4}", text):
        raise ValueError(f"{text[:80]!r} is no mode of a file; write an octal number, like 660")


def _domain(text: str) -> None:
    if text not in ("INET", "INET6", "UNIX"):
        raise ValueError(f"{text[:80]!r} is no domain; write INET, INET6 or UNIX")


_CHECKS: Mapping[str, Callable[[str], object]] = {
    "port": _port,
    "backlog": _whole_number,
    "index": _whole_number,
    "lockfile": _whole_number,
    "mode": _mode,
    "domain": _domain,
}


T = TypeVar("T")
E = TypeVar("E", bound=Enum)


@frozen
class ValueKind(Generic[T]):
    """A kind of value. `words`: all allowed values, if few; a `url` may contain a password."""

    parse: Callable[[str], T]
    show: Callable[[T], str]
    allowed: str
    words: tuple[str, ...] = ()
    url: bool = False


def optional(kind: ValueKind[T]) -> ValueKind[T | None]:
    """Return the kind `kind`, with None for an empty text."""
    return ValueKind(
        lambda text: kind.parse(text) if text else None,
        lambda value: "" if value is None else kind.show(value),
        kind.allowed,
        kind.words,
        kind.url,
    )


def several(kind: ValueKind[T]) -> ValueKind[tuple[T, ...]]:
    """Return the kind of any number of `kind`, separated by white space."""

    def parse(text: str) -> tuple[T, ...]:
        return tuple(one(word) for word in text.split())

    def one(word: str) -> T:
        try:
            return kind.parse(word)
        except ValueError as error:
            raise ValueError(str(error) or f"{word[:80]!r} is none") from None

    return ValueKind(
        parse,
        lambda value: " ".join(kind.show(item) for item in value),
        f"{kind.allowed}; several are separated by whitespace",
        kind.words,
        kind.url,
    )


# --- numbers --------------------------------------------------------------------------------------

_NUMBER = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>[A-Za-z]?)\Z")
_SIZES = {"T": 1 << 40, "G": 1 << 30, "M": 1 << 20, "k": 1 << 10, "": 1}
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST = timedelta(days=365_000)


def _measured(text: str, units: dict[str, int]) -> int:
    match = _NUMBER.match(text)
    if match is None or match["unit"] not in units:
        raise ValueError()
    return int(match["number"]) * units[match["unit"]]


def parse_size(text: str) -> int:
    """Return the number of bytes: ``4G`` is 4 * 1024 ** 3."""
    return _measured(text, _SIZES)


def size_text(size: int) -> str:
    """Return the shortest text that `parse_size` reads as `size` (bytes, 0 or more)."""
    unit = (
        next(unit for unit, factor in _SIZES.items() if size >= factor and size % factor == 0)
        if size
        else ""
    )
    return f"{size // _SIZES[unit]}{unit}"


def parse_duration(text: str) -> timedelta:
    """Return the time span: ``90`` and ``90s`` are 90 seconds; at most 1000 years."""
    seconds = _measured(text, {**_SECONDS, "": 1})
    if seconds > _LONGEST.total_seconds():
        raise ValueError("it is longer than 1000 years")
    return timedelta(seconds=seconds)


def duration_text(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads as `duration` (whole seconds)."""
    seconds = int(duration.total_seconds())
    unit = next(unit for unit, factor in _SECONDS.items() if seconds % factor == 0)
    return f"{seconds // _SECONDS[unit]}{unit}" if seconds else "0"


def _within(parse: Callable[[str], Any], least: Any, most: Any) -> Callable[[str], Any]:
    def bounded(text: str) -> Any:
        value = parse(text)
        if value < least or (most is not None and value > most):
            raise ValueError()
        return value

    return bounded


def size(least: int = 0) -> ValueKind[int]:
    """Return the kind of numbers of bytes, from `least` on."""
    above = f" from {size_text(least)}" if least else ""
    return ValueKind(
        _within(parse_size, least, None),
        size_text,
        f"a whole number of bytes{above}, or of k, M, G or T, like 100M (1k = 1024)",
    )


def duration(least: str = "0", most: str | None = None) -> ValueKind[timedelta]:
    """Return the kind of time spans from `least` to `most`."""
    bounds = (f" from {least}" if least != "0" else "") + (f" up to {most}" if most else "")
    return ValueKind(
        _within(parse_duration, parse_duration(least), parse_duration(most) if most else None),
        duration_text,
        f"a whole number of seconds, or of s, m, h or d (one unit, like 90s or 10m){bounds}",
    )


def count(least: int) -> ValueKind[int]:
    """Return the kind of whole numbers from `least` on."""
    return ValueKind(
        _within(lambda text: _measured(text, {"": 1}), least, 100_000),
        str,
        f"a whole number from {least}",
    )


# --- words and text -------------------------------------------------------------------------------


def choice(of: type[E], **removed: str) -> ValueKind[E]:
    """Return the kind of an `Enum`'s values. `removed`: former ones, with what replaces each."""
    words = tuple(str(member.value) for member in of)

    def parse(text: str) -> E:
        if text not in words:
            raise ValueError(removed.get(text, ""))
        return of(text)

    return ValueKind(parse, lambda member: str(member.value), ", ".join(words), words)


_BOOLEANS = {
    "yes": True,
    "true": True,
    "on": True,
    "1": True,
    "no": False,
    "false": False,
    "off": False,
    "0": False,
}


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError()
    return _BOOLEANS[text.lower()]


BOOLEAN = ValueKind(_boolean, lambda value: "yes" if value else "no", "yes, no")


def _line(text: str) -> str:
    if not text or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError()
    return text


TEXT = ValueKind(_line, str, "one line of text without control characters")
PATH = ValueKind(_line, str, "a path; relative ones begin at the folder of the configuration file")


def _like(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(rf"(?:{pattern})\Z", re.ASCII)

    def parse(text: str) -> str:
        if not compiled.match(text):
            raise ValueError()
        return text

    return parse


GLOB = ValueKind(
    _like(r"[A-Za-z0-9._*?\[\]!-]+"),
    str,
    "names of projects and globs (letters, digits, . _ - * ? and [...])",
)
FILENAME = ValueKind(
    _like(r"[A-Za-z0-9][A-Za-z0-9._+!-]*"), str, "names of files, like spam-1.0-py3-none-any.whl"
)
HOST = ValueKind(
    _like(r"[A-Za-z0-9._*:\[\]-]+"),
    str,
    "names of hosts and globs, without http:// (index.example.org, *.example.org, *)",
)
UPSTREAM_NAME = ValueKind(
    _like(r"[a-z0-9][a-z0-9-]{0,39}"),
    str,
    "names of upstreams (lower-case letters, digits and -)",
)
LINES: ValueKind[tuple[str, ...]] = ValueKind(
    lambda text: tuple(line.strip() for line in text.splitlines() if line.strip()),
    "\n    ".join,
    "one rule a line",
)


# --- the network ----------------------------------------------------------------------------------

ENDPOINT = ValueKind(
    parse_endpoint,
    str,
    "host:port, :port, port, or a Twisted endpoint string, like tcp:6543:interface=127.0.0.1",
)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(str(error)[:120]) from None


NETWORK: ValueKind[IPv4Network | IPv6Network] = ValueKind(
    _network, str, "addresses and networks, like 10.0.0.0/8 or ::1"
)


def _url(schemes: tuple[str, ...], userinfo: bool) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if any(
            character.isspace() or not character.isprintable() or character in "?#"
            for character in text
        ):
            raise ValueError()
        url = urlsplit(text)  # raises ValueError for a broken [IPv6] host
        if url.scheme not in schemes or not url.hostname:
            raise ValueError()
        if url.port == 0:  # reading it raises ValueError for an invalid port
            raise ValueError()
        if not userinfo and "@" in url.netloc:
            raise ValueError()
        return text.rstrip("/")

    return parse


BASE_URL = ValueKind(
    _url(("http", "https"), userinfo=False),
    str,
    "an absolute http or https URL, like https://index.example.org, without user, query and "
    "fragment",
    url=True,
)
INDEX_URL = ValueKind(
    _url(("http", "https"), userinfo=True),
    str,
    "absolute http or https URLs, like https://index.example.org/simple",
    url=True,
)


def _credentials(text: str) -> str:
    user, colon, _ = _line(text).partition(":")
    if not (user and colon):
        raise ValueError()
    return text


CREDENTIALS = ValueKind(_credentials, str, "user:password")


def _advisory_source(text: str) -> str:
    if text.startswith("s3://"):
        raise ValueError("copy the archive out of the bucket to a folder, and name its path")
    return INDEX_URL.parse(text) if "://" in text else _line(text)


ADVISORY_SOURCE = ValueKind(
    _advisory_source,
    str,
    "osv, a path, or an http or https URL",
    url=True,
)
LDAP_URL = ValueKind(
    _url(("ldap", "ldaps"), userinfo=False),
    str,
    "an ldap or ldaps URL, like ldaps://ldap.example.org",
    url=True,
)


def _redis_url(text: str) -> str:
    url = _url(("redis", "rediss"), userinfo=True)(text)
    if not re.fullmatch(r"(?:/[0-9]{1,5})?", urlsplit(url).path, re.ASCII):
        raise ValueError()
    return url


REDIS_URL = ValueKind(
    _redis_url,
    str,
    "a redis or rediss URL, like redis://:password@redis.example.org:6379/0; in the password write "
    "each character but letters, digits and -._~ as % and two digits",
    url=True,
)

_ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z", re.ASCII)
_NO_ORIGINS, _ANY_ORIGIN = "off", "*"


def _origins(text: str) -> tuple[str, ...]:
    if text in (_NO_ORIGINS, ""):
        return ()
    words = tuple(word.lower().removesuffix("/") for word in text.split())
    for word in words:
        if word == _NO_ORIGINS or (word == _ANY_ORIGIN and len(words) > 1):
            raise ValueError(f"{word!r} has to stand alone")
        if word != _ANY_ORIGIN and not _ORIGIN.match(word):
            raise ValueError(f"{word[:80]!r} is no origin")
    return words


ORIGINS = ValueKind(
    _origins,
    lambda origins: " ".join(origins) or _NO_ORIGINS,
    "off, *, or origins separated by white space, like https://notebooks.example.org",
)

_RDN = r"\s*[A-Za-z0-9][A-Za-z0-9.-]*\s*=(?:[^,\\]|\\.)*"
_DN = re.compile(rf"{_RDN}(?:,{_RDN})*")


def _dn(text: str) -> str:
    if not _DN.fullmatch(text):
        raise ValueError()
    return text


DN = ValueKind(_dn, str, "a distinguished name, like ou=people,dc=example,dc=org")
USER_FILTER = ValueKind(
    ldap_filters.user_filter,
    str,
    "a search filter of LDAP with (attribute={user}) in it, like (uid={user})",
)
GROUP_FILTER = ValueKind(
    ldap_filters.group_filter,
    str,
    "a search filter of LDAP with {dn} or {user} in it, like (member={dn})",
)


def is_this_machine(host: str | None) -> bool:
    """Return whether the host is this machine: loopback, or ``localhost`` (RFC 6761)."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_readable_on_the_way(url: str) -> bool:
    """Return whether a password sent to the URL is readable on the network."""
    split = urlsplit(url)
    return split.scheme in ("http", "ldap") and not is_this_machine(split.hostname)


def without_userinfo(text: str) -> str:
    """Return the text with the part before the @ of URLs hidden."""
    return re.sub(r"//\S*@", "//(set)@", text)


# --- people ---------------------------------------------------------------------------------------

PRINCIPALS = ValueKind(
    Principals.parse,
    Principals.text,
    "everyone, authenticated, admins, nobody, names of users, user:<name> and group:<name>",
)


def _user(text: str) -> str:
    if text.startswith("group:"):
        raise ValueError(
            f"{text[:80]!r} is a group, and only users can be named here: name its members"
        )
    return account_name(text.removeprefix("user:"))


USER = ValueKind(_user, str, "names of users")

_HASH = re.compile(r"\$[A-Za-z0-9._-]+\$[\x21-\x7e]+\Z")


def parse_hash(text: str) -> str:
    """Return `text` if it is a password hash as crypt and passlib write it, ``$kind$...``. The
    `ValueError` does not show the text.
    """
    if not _HASH.match(text):
        raise ValueError(
            "this is not a password hash ($kind$..., not {SHA} or the old crypt). Run `pypid "
            "gen-password alice` and paste its line"
        )
    return text


# --- cooldown -------------------------------------------------------------------------------------

_EXCEPTION = re.compile(r"(?P<projects>(?:\[[^\]]*\]|[^=<>~!\[])*)(?P<versions>(?:[=<>~!].*)?)\Z")


def _cooldown(text: str) -> Cooldown:
    wait, *others = text.split() or [""]
    return Cooldown(_wait(wait), tuple(map(_cooldown_exception, others)))


def _cooldown_exception(word: str) -> CooldownException:
    """Return the exception: `NAME[SPECIFIER]=WAIT[@DATE]`. No wait contains ``=`` or ``@``, so the
    last of each divides.
    """
    target, _, value = word.rpartition("=")
    found = _EXCEPTION.match(target)
    if found is None:
        raise ValueError()
    wait, at, expires = value.partition("@")
    return CooldownException(
        GLOB.parse(found["projects"]),
        _wait(wait),
        _specifier(found["versions"]),
        end_of(expires) if at else None,
    )


def _wait(text: str) -> Wait:
    return end_of(text) if "-" in text else parse_duration(text)


def _specifier(text: str) -> str:
    try:
        return str(specifier_of(text)) if text else ""
    except ValueError:
        raise ValueError(f"{text[:80]!r} is no version specifier (PEP 440)") from None


def end_of(text: str) -> datetime:
    """Return the end of the day, or the time, that the text names (`core.times`)."""
    try:
        return parse_moment(text).before
    except BadMoment:
        raise ValueError(f"{text[:80]!r} is not a date or time") from None


def _cooldown_text(cooldown: Cooldown) -> str:
    return " ".join([wait_text(cooldown.wait), *map(exception_text, cooldown.exceptions)])


def exception_text(exception: CooldownException) -> str:
    """Return the exception as it is written in the configuration."""
    end = "" if exception.expires is None else f"@{time_text(exception.expires)}"
    return f"{exception.projects}{exception.versions}={wait_text(exception.wait)}{end}"


def wait_text(wait: Wait) -> str:
    """Return the wait as it is written in the configuration."""
    return time_text(wait) if isinstance(wait, datetime) else duration_text(wait)


def time_text(end: datetime) -> str:
    """Return the time as `end_of` reads it: a date if it is the end of a day."""
    if end.time() == time() and end - BEGINNING >= timedelta(days=1):
        return (end - timedelta(days=1)).date().isoformat()
    return moment_of(end).text


COOLDOWN = ValueKind(
    _cooldown,
    _cooldown_text,
    "an age or a date, and exceptions behind it, like 3d numpy=0 acme-*=14d "
    "requests==2.32.4=0@2026-12-31",
)


# --- trust ----------------------------------------------------------------------------------------


def _required_publisher(text: str) -> RequiredPublisher:
    projects, _, publisher = text.partition("=")
    service, colon, name = publisher.partition(":")
    if service.lower() not in SERVICES or bool(colon and name) is (service == "*"):
        raise ValueError(f"the publisher {publisher[:80]!r} is not like github:acme/spam or *")
    return RequiredPublisher(GLOB.parse(projects), publisher)


REQUIRED_PUBLISHER = ValueKind(
    _required_publisher,
    lambda rule: f"{rule.projects}={rule.publisher}",
    "a project or glob, =, and a publisher (github:, gitlab:, google: or circleci:, with a "
    "name or a glob) or just *, like acme-*=github:acme/*",
)


# Kinds of values that only named indexes have.

LONGEST_NAME = 40
"""Largest number of characters in the name of an index."""
_NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{LONGEST_NAME - 1}}}")
_NO_NAMES = "none"


def is_plain_name(text: str) -> bool:
    """Return whether the text is spelled as the name of an index; it may be reserved."""
    return _NAME.fullmatch(text) is not None


def _names(text: str, thing: str) -> tuple[str, ...]:
    words = () if text == _NO_NAMES else tuple(text.split())
    for word in words:
        if word == _NO_NAMES:
            raise ValueError(f"{word!r} cannot be combined with other words")
        if words.count(word) > 1:
            raise ValueError(f"{word[:80]!r} is given twice")
        if not is_plain_name(word):
            raise ValueError(f"{word[:80]!r} is not the name of an {thing}")
    return words


INDEX_NAMES = ValueKind(
    lambda text: _names(text, "index"),
    lambda names: " ".join(names) or _NO_NAMES,
    "names of indexes (lower-case letters, digits and -), separated by whitespace; or none",
)
UPSTREAM_NAMES = ValueKind(
    lambda text: _names(text, "upstream"),
    lambda names: " ".join(names) or _NO_NAMES,
    "names of upstreams and public, separated by whitespace; or none",
)


def _blocks(text: str) -> tuple[BlockSpec, ...]:
    try:
        specs = tuple(parse_block_spec(word) for word in text.split())
    except BadRequest as error:
        raise ValueError(str(error).rstrip(".")) from None
    if any(spec.project is None for spec in specs):
        raise ValueError("the digest of a file cannot be blocked in one index")
    return specs


BLOCKS = ValueKind(
    _blocks,
    lambda specs: " ".join(spec.text for spec in specs),
    "projects and versions, like acme or acme>=1,<2, separated by whitespace",
)

MOMENT: ValueKind[datetime] = ValueKind(
    end_of, time_text, "a date (2026-08-01, in UTC: its end) or a time (2026-08-01T12:30:00Z)"
)
