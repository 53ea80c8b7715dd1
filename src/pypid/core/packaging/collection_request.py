"""Parsing a client's requirements and lock files, for a collection or for a check. Pure.

It takes time linear in the size of the request: for the largest lock file seconds, in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from attrs import evolve

from pypid.core.errors import BadRequest
from pypid.core.packaging.collection import CollectOptions
from pypid.core.packaging.file_choice import applicable
from pypid.core.packaging.install_targets import targets
from pypid.core.packaging.lock_files import DependencyList, Lock, Pin, parse_pylock
from pypid.core.packaging.requirements import Remark, Requirements, parse_requirements

MOST_TEXTS = 200
"""Maximum number of files in one collection request."""
LARGEST = 6 << 20
"""Maximum size in bytes of one request."""
JSON = ""
"""The name of the part that is not a form field but a JSON document with all of them."""
UNPINNED = "it names no exact version: check a lock file, or write name==version"

Texts = str | tuple[str, ...]
RequestFields = Sequence[tuple[str, bytes]]
"""The fields of a request, each with its name; or one part with the name `JSON`."""


EXPORTS = {
    "uv.lock": "uv export --format pylock.toml --output-file pylock.toml",
    "poetry.lock": "poetry export --output requirements.txt",
    "pdm.lock": "pdm export --format pylock --output pylock.toml",
    "Pipfile.lock": "pipenv requirements > requirements.txt",
}
"""The lock files of single tools, with the command that writes one that pypid reads."""


def read_instead(name: str) -> str:
    """Return the advice for a lock file of `EXPORTS`."""
    return f"{name} is read by its own tool only. Export it, and use the result: {EXPORTS[name]}"


class CollectionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a form, or of a JSON document."""

    requirements: Texts = ()
    pylock_toml: Texts = msgspec.field(default=(), name="pylock.toml")
    platform: Texts = ()
    python: Texts = ()


FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(CollectionRequest)}
"""The attribute of each field, by the name that clients use."""


def parse_collection(fields: RequestFields, running: str) -> CollectOptions | None:
    """Return what is to be collected; None if nothing is.

    `running` is the default Python version. Raises `BadRequest` with the problem.
    """
    request = _decoded(fields)
    parsed = _parsed(request)
    if parsed is None:
        return None
    wanted, locks = parsed
    chosen = targets(_words(request.platform), _words(request.python), running=running)
    return CollectOptions(wanted, tuple(locks), chosen, applicable(wanted.wanted, chosen))


def parse_dependencies(fields: RequestFields) -> DependencyList | None:
    """Return the releases that the files pin; None if there are no files. Raises `BadRequest`."""
    parsed = _parsed(_decoded(fields))
    if parsed is None:
        return None
    wanted, locks = parsed
    pins: dict[tuple[str, str], Pin] = {}
    unpinned: list[Remark] = []
    for line in wanted.wanted:
        version = _exact_version(line.specifiers)
        if version is None:
            unpinned.append(Remark(line.text, UNPINNED))
        else:
            pins.setdefault((line.project, version), Pin(line.project, version))
    for pin in (pin for lock in locks for pin in lock.pins):
        pins[pin.project, pin.version] = pin
    return DependencyList(tuple(pins.values()), tuple(unpinned), wanted.unparseable)


def _exact_version(specifiers: str) -> str | None:
    """Return the version of ``==1.0`` or ``===1.0``; None for anything that allows several."""
    version = specifiers.removeprefix("==").removeprefix("=")
    is_exact = specifiers.startswith("==") and "," not in version and not version.endswith(".*")
    return version.strip() if is_exact else None


def _parsed(request: CollectionRequest) -> tuple[Requirements, list[Lock]] | None:
    """Return the requirements, with the remarks on all files, and the locks; None if there are no
    files.
    """
    requirements = _texts(request.requirements)
    pylocks = _texts(request.pylock_toml)
    if not requirements and not pylocks:
        return None
    if len(requirements) + len(pylocks) > MOST_TEXTS:  # JSON may hold millions
        raise BadRequest(f"At most {MOST_TEXTS} files are accepted in one request.")
    wanted = parse_requirements(*requirements)
    locks = [parse_pylock(text) for text in pylocks]
    remarks = [remark for lock in locks for remark in lock.unparseable]
    return evolve(wanted, unparseable=(*wanted.unparseable, *remarks)), locks


def _decoded(fields: RequestFields) -> CollectionRequest:
    if [name for name, _ in fields] == [JSON]:
        try:
            return msgspec.json.decode(fields[0][1], type=CollectionRequest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(
                f"The JSON document is not what is expected here: {str(error)[:200]}"
            ) from None
    found: dict[str, list[str]] = {}
    for name, data in fields:
        if name in EXPORTS:
            raise BadRequest(read_instead(name))
        if name in FIELDS:
            found.setdefault(FIELDS[name], []).append(data.decode("utf-8", "replace"))
    return CollectionRequest(**{name: tuple(texts) for name, texts in found.items()})


def _texts(value: Texts) -> list[str]:
    return [text for text in ((value,) if isinstance(value, str) else value) if text.strip()]


def _words(value: Texts) -> list[str]:
    return [word for text in _texts(value) for word in text.replace(",", " ").split()]
