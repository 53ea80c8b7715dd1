"""The metadata of variant wheels, and the lists of variants made of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadFilename, UploadRejected
from pypid.core.model import Digests, Project, StoredFile, Upload, in_order
from pypid.core.packaging.names import parse_filename, project_name
from pypid.core.packaging.variants import (
    LARGEST_LIST,
    PEP_825,
    check_contradictions,
    read_variant,
    variant_list,
    variant_lists,
    with_variant_lists,
)
from tests.distributions import variant_metadata

SPAM = project_name("spam")
START = datetime(2026, 1, 1, tzinfo=UTC)
STATIC: dict[str, Any] = {"static-properties": {"speed": ["fast", "slow"]}}


def stored(label: str, metadata: object, *, at: int = 0, version: str = "1.0") -> StoredFile:
    """A variant wheel, uploaded `at` these minutes, with checked metadata."""
    variant, problems = read_variant(json.dumps(metadata).encode(), label)
    assert not problems, problems
    return wheel_of(f"-{label}", variant, at=at, version=version)


def wheel_of(
    label: str, variant: str | None, *, at: int = 0, version: str = "1.0", tag: str = "py3"
) -> StoredFile:
    """A wheel that has this metadata."""
    filename = f"spam-{version}-{tag}-none-any{label}.whl"
    return StoredFile(
        project=SPAM,
        filename=filename,
        version=version,
        sha256="0" * 64,
        size=1,
        key=f"spam/{filename}",
        uploaded=START + timedelta(minutes=at),
        variant_json=variant,
    )


def upload_of(file: StoredFile, tag: str = "py3") -> Upload:
    """The upload of such a wheel for these Pythons."""
    distribution = parse_filename(file.filename.replace("-py3-", f"-{tag}-"))
    digests = Digests(sha256=file.sha256, md5=None, blake2b_256=None, size=file.size)
    return Upload(
        distribution=distribution,
        version=file.version,
        digests=digests,
        variant_json=file.variant_json,
    )


def project_of(*files: StoredFile) -> Project[Any]:
    """The project with these files."""
    return Project(name=SPAM, files=in_order(files))


class FilenameTests(SynchronousTestCase):
    """The names of variant wheels."""

    def test_label(self) -> None:
        """The label follows the tags, with and without a build number."""
        for build in ("", "1abc-"):
            name = f"spam-1.0-{build}py3-none-any-x86_64.v3.whl"
            found = parse_filename(name)
            self.assertEqual(
                (found.filename, found.project, found.version, found.python_version, found.label),
                (name, "spam", "1.0", "py3", "x86_64.v3"),
            )
            self.assertEqual({str(tag) for tag in found.tags}, {"py3-none-any"})

    def test_no_label(self) -> None:
        """A wheel without a label is not a variant, also with a build number."""
        for name in ("spam-1.0-py3-none-any.whl", "spam-1.0-1-py3-none-any.whl"):
            self.assertEqual(parse_filename(name).label, "")

    def test_invalid(self) -> None:
        """Other characters in a label, or more parts, are refused."""
        for name in (
            "spam-1.0-py3-none-any-Fast.whl",
            "spam-1.0-py3-none-any-.whl",
            "spam-1.0-py3-none-any-a+b.whl",
            "spam-1.0-py3-none-any-a-b.whl",
            "my-spam-1.0-py3-none-any-fast.whl",
        ):
            with self.assertRaises(BadFilename):
                parse_filename(name)

    def test_not_accepted(self) -> None:
        """Without variants, the reason is the one of a bad build number."""
        with self.assertRaises(BadFilename) as caught:
            parse_filename("spam-1.0-py3-none-any-fast.whl", variants=False)
        self.assertIn("build number", str(caught.exception))


class MetadataTests(SynchronousTestCase):
    """`variant.json` of one wheel."""

    def problems(self, metadata: object, label: str = "fast") -> str:
        """All problems, in one text."""
        data = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
        found, problems = read_variant(data, label)
        self.assertEqual(found is None, bool(problems))
        return "\n".join(problems)

    def test_accepted(self) -> None:
        """Each form that uv 0.13.9 reads is accepted."""
        plugin = {"requires": ["acme-provider"], "plugin-api": "acme.plugin:Acme", "optional": True}
        two = {"static-properties": {"a": ["x"], "b": ["y"]}, "feature-order": ["b", "a"]}
        for label, metadata in (
            ("fast", variant_metadata("fast", ["fast", "slow"])),
            ("null", variant_metadata("null")),
            ("empty", variant_metadata("empty")),
            ("fast", variant_metadata("fast", ["fast"], providers={"acme": plugin})),
            ("fast", variant_metadata("fast", ["fast"], providers={"acme": two})),
            ("fast", {**variant_metadata("fast", ["fast"]), "$schema": PEP_825}),
        ):
            self.assertEqual(self.problems(metadata, label), "")

    def test_refused(self) -> None:
        """Each form that uv refuses, and with it the whole release, is refused with the reason (C124)."""
        fast = variant_metadata("fast", ["fast"])

        def provider(**keys: object) -> dict[str, object]:
            return {"providers": {"acme": {key.replace("_", "-"): keys[key] for key in keys}}}

        for change, words in (
            ({"extra": 1}, "unknown field `extra`"),
            ({"$schema": "https://example.org/v9.json"}, "$schema is"),
            ({"default-priorities": {"namespace": []}}, "each namespace once"),
            ({"default-priorities": {"namespace": ["acme", "acme"]}}, "each namespace once"),
            ({"default-priorities": {"namespace": ["acme"], "feature": {}}}, "unknown field"),
            ({"default-priorities": {"namespace": ["Acme"]}}, "matching regex"),
            ({"default-priorities": {"namespace": ["acme\n"]}}, "matching regex"),
            ({"variants": {}}, "variants must have one entry, 'fast'"),
            ({"variants": {"slow": {}}}, "variants must have one entry, 'fast'"),
            ({"variants": {"fast": {}, "slow": {}}}, "variants must have one entry, 'fast'"),
            ({"variants": {"fast": {"other": {"speed": ["x"]}}}}, "namespace lacks 'other'"),
            ({"variants": {"fast": {"acme": {"speed": []}}}}, "acme :: speed must have"),
            ({"variants": {"fast": {"acme": {"speed": ["x", "x"]}}}}, "acme :: speed must have"),
            ({"variants": {"fast": {"acme": {"speed": "fast"}}}}, "Expected `array`"),
            ({"providers": {}}, "providers must have the namespaces"),
            (provider(), "either static-properties or requires"),
            (provider(plugin_api="acme"), "either static-properties or requires"),
            (provider(requires="acme"), "Expected `array`"),
            (provider(static_properties={}, requires=[]), "static-properties excludes"),
            (provider(static_properties={"a": ["x"], "b": ["x"]}), "need a feature-order"),
            (provider(static_properties={"a": ["x"]}, feature_order=["b"]), "each static feature"),
            (provider(static_properties={"a": ["x", "x"]}), "acme :: a must have each value once"),
        ):
            self.assertIn(words, self.problems({**fast, **change}), change)
        without = {key: value for key, value in fast.items() if key != "providers"}
        self.assertIn("providers is missing", self.problems(without))
        null = {"variants": {"null": {"acme": {"speed": ["fast"]}}}}
        self.assertIn("no properties", self.problems({**fast, **null}, "null"))

    @given(st.binary(max_size=200) | st.text().map(lambda text: json.dumps(text).encode()))
    def test_anything(self, data: bytes) -> None:
        """No bytes raise anything, and a problem is short."""
        self.assertLess(len(self.problems(data)), 1000)

    def test_hostile(self) -> None:
        """Deep nesting and long names are one short problem."""
        long = json.dumps({"x" * 5000: 1}).encode()
        for data in (b"[" * 8000, b'{"variants":' * 600, b"\xff{}", b"\0", long):
            self.assertLess(len(self.problems(data)), 1000)


class ListTests(SynchronousTestCase):
    """The list of a release's variants."""

    def test_damaged_record(self) -> None:
        """Metadata that a damaged record has is left out; the page lists the wheel."""
        bad = wheel_of("-fast", '{"variants": 1}')
        self.assertEqual([*variant_lists(project_of(bad))], [])
        good = stored("slow", variant_metadata("slow", ["slow"]), at=1)
        [found] = variant_lists(project_of(bad, good))
        self.assertNotIn("fast", json.loads(found.content)["variants"])

    def labels(self, *files: StoredFile) -> list[str]:
        """The labels in the only list of these files."""
        [found] = variant_lists(project_of(*files))
        return sorted(json.loads(found.content)["variants"])

    def test_merged(self) -> None:
        """A list has the variants of all wheels, and what they have in common."""
        fast = stored("fast", variant_metadata("fast", ["fast"]))
        slow = stored("slow", variant_metadata("slow", ["slow"]), at=1)
        [found] = variant_lists(project_of(fast, slow, wheel_of("", None)))
        self.assertEqual(found.filename, "spam-1.0-variants.json")
        self.assertEqual((found.uploaded, found.size), (START, len(found.content)))
        self.assertEqual(
            json.loads(found.content),
            variant_metadata(
                "fast",
                variants={
                    "fast": {"acme": {"speed": ["fast"]}},
                    "slow": {"acme": {"speed": ["slow"]}},
                },
            ),
        )

    def test_releases(self) -> None:
        """Each release with variants has a list; two spellings of a version are one release."""
        files = [
            stored("fast", variant_metadata("fast", ["fast"]), version=version)
            for version in ("1.0", "1.0.0", "2.0")
        ]
        found = variant_lists(project_of(*files, wheel_of("", None, version="3.0")))
        self.assertEqual(
            [each.filename for each in found], ["spam-1.0-variants.json", "spam-2.0-variants.json"]
        )

    def test_page(self) -> None:
        """A page has the lists in the order of files, and no file is named twice."""
        fast = stored("fast", variant_metadata("fast", ["fast"]))
        shown = with_variant_lists(project_of(fast))
        self.assertEqual(
            [file.filename for file in shown.files], [fast.filename, "spam-1.0-variants.json"]
        )
        self.assertEqual(with_variant_lists(shown).files, shown.files)
        self.assertIsNone(variant_list(shown, "spam-1.0-variants.json"))
        plain = project_of(wheel_of("", None))
        self.assertIs(with_variant_lists(plain), plain)
        self.assertFalse(plain.has_variants)

    def test_contradiction(self) -> None:
        """A wheel that contradicts the others of its release is refused, and is in no list."""
        fast = stored("fast", variant_metadata("fast", ["fast"]))
        other = {"providers": {"acme": {"static-properties": {"speed": ["slow"]}}}}
        for label, metadata, words in (
            ("slow", variant_metadata("slow", ["slow"], **other), "providers is not the same"),
            ("fast", variant_metadata("fast", ["slow"]), "other properties"),
        ):
            wrong = stored(label, metadata, at=1)
            new = upload_of(wrong, "py2")
            with self.assertRaises(UploadRejected) as caught:
                check_contradictions(project_of(fast), new)
            self.assertIn(words, str(caught.exception))
            check_contradictions(project_of(fast), evolve(new, version="2.0"))
            alone = evolve(new, distribution=parse_filename(fast.filename))
            check_contradictions(project_of(fast), alone)  # in place of the only one
            self.assertEqual(self.labels(fast, wrong), ["fast"])

    def test_bounded(self) -> None:
        """A release has so many variants that its list stays small."""
        wheels, many = [], "x" * 80
        for number in range(1000):
            values = [f"{many}{each}" for each in range(80)]
            label = f"l{number}"
            wheel = stored(label, variant_metadata(label, values), at=number)
            wheels.append(wheel)
        [found] = variant_lists(project_of(*wheels))
        self.assertLess(len(found.content), LARGEST_LIST)
        last = stored("last", variant_metadata("last", [f"{many}{each}" for each in range(80)]))
        with self.assertRaises(UploadRejected) as caught:
            check_contradictions(project_of(*wheels), upload_of(last))
        self.assertIn("512 KiB", str(caught.exception))
        check_contradictions(project_of(*wheels), upload_of(wheels[-1], "py2"))

    @given(st.permutations(range(6)))
    def test_order(self, order: list[int]) -> None:
        """The list does not depend on the order in which the wheels are found."""
        wheels = [
            stored(f"l{each % 4}", variant_metadata(f"l{each % 4}", [f"v{each}"]), at=each // 2)
            for each in range(6)
        ]
        whole = Project(name=SPAM, files=tuple(wheels[each] for each in order))
        self.assertEqual(variant_lists(whole), variant_lists(project_of(*wheels)))
