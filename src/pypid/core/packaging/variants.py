"""Variant wheels: the ``variant.json`` of each wheel, and the list of a release's variants that an
index makes of them.

Sources: PEP 825 (file names, metadata, index-level metadata) and PEP 850 (providers), both drafts;
the formats and the rules are those of uv 0.13.9, which refuses a release whose list it cannot read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated

import msgspec
from attrs import evolve, frozen
from msgspec import UNSET, Meta, Struct, UnsetType

from pypid.core.errors import UploadRejected, shortened
from pypid.core.model import File, Files, Project, StoredFile, Upload, in_order
from pypid.core.packaging.names import ProjectName, version_key

MEMBER = "variant.json"
"""The name of the metadata in the ``.dist-info`` folder of a variant wheel."""
LARGEST_METADATA = 8 << 10
"""Most bytes of a ``variant.json``; the catalog keeps it for each wheel."""
LARGEST_LIST = 512 << 10
"""Most bytes of metadata, each different text counted once, that the list of one release is made
of.
"""
PEP_825 = "https://variants-schema.wheelnext.dev/peps/825/v0.1.1.json"
PEP_850 = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
NULL = "null"
"""The label of the variant without properties."""
SUFFIX = "-variants.json"

_Word = Annotated[str, Meta(pattern=r"^[a-z0-9_]+\Z", max_length=100)]
_Value = Annotated[str, Meta(pattern=r"^[a-z0-9_.]+\Z", max_length=100)]
_Label = Annotated[str, Meta(pattern=r"^[a-z0-9_.]+\Z")]
_Features = dict[_Word, list[_Value]]
_Properties = dict[_Word, _Features]


class VariantPriorities(Struct, rename="kebab", forbid_unknown_fields=True, frozen=True):
    """The namespaces of a release, the most important one first."""

    namespace: list[_Word]


class VariantProvider(
    Struct, rename="kebab", forbid_unknown_fields=True, omit_defaults=True, frozen=True
):
    """Where the properties of a namespace come from: a list, or a Python package."""

    static_properties: _Features | UnsetType = UNSET
    feature_order: list[_Word] | UnsetType = UNSET
    requires: list[str] | UnsetType = UNSET
    plugin_api: str | UnsetType = UNSET
    optional: bool | UnsetType = UNSET


class VariantMetadata(
    Struct, rename="kebab", forbid_unknown_fields=True, omit_defaults=True, frozen=True
):
    """The contents of a ``variant.json``, or of the list of a release's variants."""

    schema: str = msgspec.field(name="$schema")
    default_priorities: VariantPriorities
    variants: dict[_Label, _Properties]
    providers: dict[_Word, VariantProvider] | UnsetType = UNSET


_decoder = msgspec.json.Decoder(VariantMetadata)
_encoder = msgspec.json.Encoder(order="deterministic")


# --- the metadata of one wheel --------------------------------------------------------------------


def read_variant(data: bytes, label: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the ``variant.json`` of the wheel with this label as pypid stores it, and its
    problems; None if there are any.
    """
    try:
        metadata = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, (f"{MEMBER} cannot be read: {shortened(str(error))}.",)
    problems = tuple(f"{MEMBER}: {problem}" for problem in _problems(metadata, label))
    return (None, problems) if problems else (_encoder.encode(metadata).decode(), ())


def _problems(metadata: VariantMetadata, label: str) -> Iterator[str]:
    if metadata.schema not in (PEP_825, PEP_850):
        yield (
            f"$schema is {shortened(metadata.schema)!r}; this version knows {PEP_825} and "
            f"{PEP_850}."
        )
    if list(metadata.variants) != [label]:
        yield f"variants must have one entry, {label!r}, the label in the file name."
    namespaces = metadata.default_priorities.namespace
    if not namespaces or _has_repeated(namespaces):
        yield "default-priorities.namespace must name each namespace once, and at least one."
    for properties in metadata.variants.values():
        if label == NULL and properties:
            yield f"the variant {NULL!r} must have no properties."
        unknown = [name for name in properties if name not in namespaces]
        if unknown:
            yield f"default-priorities.namespace lacks {unknown[0]!r}."
        yield from _feature_problems(properties)
    yield from _provider_problems(metadata, namespaces)


def _feature_problems(properties: _Properties) -> Iterator[str]:
    for namespace, features in properties.items():
        for feature, values in features.items():
            if not values or _has_repeated(values):
                yield f"{namespace} :: {feature} must have each value once, and at least one."


def _provider_problems(metadata: VariantMetadata, namespaces: list[str]) -> Iterator[str]:
    providers = metadata.providers
    if providers is UNSET:
        if metadata.schema == PEP_850:
            yield "providers is missing."
        return
    if set(providers) != set(namespaces):
        yield "providers must have the namespaces of default-priorities.namespace."
    for namespace, provider in providers.items():
        yield from (f"providers.{namespace}: {text}" for text in _kind_problems(provider))
        if provider.static_properties is not UNSET:
            yield from _feature_problems({namespace: provider.static_properties})


def _kind_problems(provider: VariantProvider) -> Iterator[str]:
    static, order = provider.static_properties, provider.feature_order
    if static is UNSET:
        if provider.requires is UNSET or order is not UNSET:
            yield "it needs either static-properties or requires."
        return
    if not (provider.requires is provider.plugin_api is provider.optional is UNSET):
        yield "static-properties excludes requires, plugin-api and optional."
    if order is UNSET:
        if len(static) > 1:
            yield "several static features need a feature-order."
    elif _has_repeated(order) or set(order) != set(static):
        yield "feature-order must name each static feature once."


def _has_repeated(words: list[str]) -> bool:
    return len(set(words)) < len(words)


# --- the list of a release ------------------------------------------------------------------------


class VariantList(File, frozen=True, kw_only=True, gc=False):
    """The list of the variants of one release: a file that is made of records, never stored."""

    content: bytes


def is_variant_list(filename: str) -> bool:
    """Return whether a file of this name is the list of a release's variants."""
    return filename.endswith(SUFFIX)


def with_variant_lists(project: Project[File]) -> Project[File]:
    """Return the project with the list of the variants of each release that has any."""
    lists = variant_lists(project)
    if not lists:
        return project
    taken = {file.filename for file in project.files}
    new = [each for each in lists if each.filename not in taken]
    return evolve(project, files=in_order((*project.files, *new)))


def variant_list(project: Project[File], filename: str) -> VariantList | None:
    """Return the list with this file name, if the page of the project names it."""
    if project.file(filename) is not None:
        return None
    version = filename.removesuffix(SUFFIX).partition("-")[2]
    wheels = [*_wheels(project, version)]
    found = _list_of(project.name, wheels) if wheels else None
    return found if found is not None and found.filename == filename else None


def variant_lists(project: Project[File]) -> list[VariantList]:
    """Return the list of the variants of each release that has any."""
    releases: dict[object, list[StoredFile]] = {}
    for file in _wheels(project):
        releases.setdefault(version_key(file.version), []).append(file)
    return [_list_of(project.name, wheels) for wheels in releases.values()]


def _wheels(project: Project[File], version: str | None = None) -> Iterator[StoredFile]:
    """Yield the variant wheels of the project, or those of one release."""
    if isinstance(project.files, Files):  # of upstream
        return
    key = None if version is None else version_key(version)
    readable: dict[str, bool] = {}
    for file in project.files:
        if not isinstance(file, StoredFile) or file.variant_json is None:
            continue
        if key is not None and version_key(file.version) != key:
            continue
        text = file.variant_json
        if text not in readable:
            readable[text] = _is_readable(text)
        if readable[text]:
            yield file


def _is_readable(text: str) -> bool:
    """Return whether it is metadata of a variant. That of a damaged record is left out, so that the
    page of the project lists its other files.
    """
    try:
        _decoder.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def _list_of(name: ProjectName, wheels: list[StoredFile]) -> VariantList:
    wheels = sorted(wheels, key=_age)
    first = wheels[0]
    written = f"{name.replace('-', '_')}-{first.version}{SUFFIX}"
    content = _encoder.encode(_Merged.of(wheels).metadata)
    return VariantList(
        project=name,
        filename=written,
        version=first.version,
        sha256=sha256(content).hexdigest(),
        size=len(content),
        # of the first wheel: clients that ignore files after a time still need the list
        uploaded=first.uploaded,
        content=content,
    )


def _age(file: StoredFile) -> tuple[datetime, str]:
    return (file.uploaded or datetime.min.replace(tzinfo=UTC), file.filename)


@frozen
class _Merged:
    """The metadata of several wheels as one. A wheel that contradicts an older one is left out, so
    that the result does not depend on the order in which the wheels are found.
    """

    metadata: VariantMetadata
    size: int

    @classmethod
    def of(cls, wheels: Iterable[StoredFile]) -> _Merged:
        """Return what the wheels of one release, the oldest one first, have in common."""
        texts = dict.fromkeys(file.variant_json for file in wheels if file.variant_json is not None)
        merged: _Merged | None = None
        for text in texts:
            if merged is None:
                merged = cls(_decoder.decode(text), len(text))
            elif merged.problem(text) is None:
                merged = merged.extended(text)
        assert merged is not None
        return merged

    def problem(self, text: str) -> str | None:
        """Return why this metadata does not fit, or None."""
        if self.size + len(text) > LARGEST_LIST:
            return f"the variants of this release need more than {LARGEST_LIST >> 10} KiB."
        one, other = self.metadata, _decoder.decode(text)
        for field, is_same in (
            ("$schema", one.schema == other.schema),
            ("default-priorities", one.default_priorities == other.default_priorities),
            ("providers", one.providers == other.providers),
        ):
            if not is_same:
                return (
                    f"{field} is not the same as in the variant wheels of this release that are "
                    "published."
                )
        for label, properties in other.variants.items():
            if one.variants.get(label, properties) != properties:
                return (
                    f"the variant {shortened(label)!r} has other properties in a wheel of this "
                    "release that is published."
                )
        return None

    def extended(self, text: str) -> _Merged:
        """Return it with the variants of this metadata."""
        other = _decoder.decode(text)
        variants = self.metadata.variants | other.variants
        return _Merged(
            msgspec.structs.replace(self.metadata, variants=variants), self.size + len(text)
        )


def check_contradictions(project: Project[File], upload: Upload) -> None:
    """Raise `UploadRejected` if a new variant wheel cannot be in the list of its release, because
    it contradicts the wheels that are published.
    """
    filename, new = upload.distribution.filename, upload.variant_json or ""
    others = [file for file in _wheels(project, upload.version) if file.filename != filename]
    if not others or any(file.variant_json == new for file in others):
        return
    problem = _Merged.of(sorted(others, key=_age)).problem(new)
    if problem is not None:
        raise UploadRejected((f"{MEMBER}: {problem}",), filename)
