"""Former names of sections and keys: in the file, in the environment, and beside the current ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.environment import variable
from pypid.core.configuration.former_names import FORMER_NAMES, spellings
from pypid.core.configuration.in_force import describe
from pypid.core.configuration.keys import SECTIONS, keys
from pypid.core.configuration.parse import Config, parse
from pypid.core.pypicloud.translation import translate
from tests.core.configuration.test_parse import problems

KEYS: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("cache", "backend"): ("catalog", "backend", "sql"),
    ("cache", "url"): ("catalog", "url", "sqlite:///x.db"),
    ("cache", "snapshot"): ("catalog", "dump", "kept"),
    ("cache", "snapshot_interval"): ("catalog", "dump_interval", "7s"),
    ("cache", "stale_for"): ("catalog", "stale_for", "8s"),
    ("server", "front_door"): ("server", "fast_path", "no"),
    ("upstream", "blend"): ("upstream", "allow_mixed", "acme-*"),
}
"""Former section and key: the current ones, and a value that is not the default. Written by hand:
users rely on each.
"""

FORMER_FILE = """\
[server]
front_door = no
[cache]
backend = memory
url =
snapshot = kept
snapshot_interval = 7s
stale_for = 10m
[upstream]
blend = acme-*
"""
"""A file of a version before the names changed."""


def read(text: str, environ: Mapping[str, str] | None = None, **options: Any) -> Config:
    return parse(text, filename="x.ini", environ=environ or {}, **options)


class FileTests(SynchronousTestCase):
    def test_each_key(self) -> None:
        """A key under its former name is the key, and one line says the current name."""
        for (section, key), (current_section, current, value) in KEYS.items():
            config = read(f"[{section}]\n{key} = {value}\n")
            expected = read(f"[{current_section}]\n{current} = {value}\n")
            self.assertEqual(config, expected, key)
            self.assertNotEqual(config, Config(source="x.ini"), key)
            self.assertEqual(config.origins, expected.origins)
            self.assertEqual(expected.notes, ())
            names = [f"[{section}] {key} was renamed to [{current_section}] {current}."]
            lines = [f"x.ini:2: {names[0]} The former name still works."] if key != current else []
            if section != current_section:
                lines.insert(
                    0, "x.ini:1: [cache] was renamed to [catalog]. The former name still works."
                )
            self.assertEqual(config.notes, tuple(lines), key)

    def test_file_of_an_earlier_version(self) -> None:
        """A whole file with former names is read as before; what is printed has current names."""
        config = read(FORMER_FILE)
        self.assertEqual(len(config.notes), 5)
        self.assertFalse(config.server.fast_path)
        self.assertEqual(
            (config.catalog.dump, config.catalog.dump_interval.total_seconds()), ("kept", 7)
        )
        self.assertEqual(config.upstream.allow_mixed, ("acme-*",))
        shown = describe(config)
        self.assertEqual(evolve(read(shown), source="x.ini"), config)
        for word in ("[cache]", "front_door", "blend", "snapshot_interval"):
            self.assertNotIn(word, shown)

    def test_keys_of_a_renamed_section(self) -> None:
        """Both names of a key work in a section under either of its names."""
        for section in ("cache", "catalog"):
            for key in ("snapshot", "dump"):
                config = read(f"[{section}]\n{key} = kept\n")
                self.assertEqual(config.catalog.dump, "kept")
                self.assertEqual(len(config.notes), (section == "cache") + (key == "snapshot"))

    def test_both_names_of_a_key(self) -> None:
        """A key under both names is a problem that names both, with their lines."""
        for (_, key), (current_section, current, value) in KEYS.items():
            if key == current:
                continue
            for first, second in ((key, current), (current, key)):
                text = f"[{current_section}]\n{first} = {value}\n{second} = {value}\n"
                lines = {first: 2, second: 3}
                self.assertEqual(
                    problems(text),
                    [
                        f"x.ini:3: [{current_section}] {second}: {key} (line {lines[key]}) is the "
                        f"former name of {current} (line {lines[current]}); remove one of the two"
                    ],
                )

    def test_both_names_of_a_section(self) -> None:
        """A section under both names is a problem that names both, with their lines; problems of
        the keys in both are reported, too.
        """
        for first, second in (("cache", "catalog"), ("catalog", "cache")):
            text = f"[{first}]\nbackend = sql\n[{second}]\nstale_for = x\n"
            lines = {first: 1, second: 3}
            found = problems(text)
            self.assertEqual(
                found[0],
                f"x.ini:3: [{second}]: [cache] (line {lines['cache']}) is the former name of "
                f"[catalog] (line {lines['catalog']}); put all keys into [catalog]",
            )
            self.assertEqual(len(found), 2)
            self.assertTrue(
                found[1].startswith(f"x.ini:4: [{second}] stale_for: invalid value 'x'")
            )

    def test_problems_have_the_names_of_the_file(self) -> None:
        """A problem names the section and the key that its line has."""
        for (section, key), (_, _, value) in KEYS.items():
            if value in ("sqlite:///x.db", "acme-*"):
                value = "\x07"
            found = problems(f"[{section}]\n{key} = {value}?/\n")
            self.assertEqual(len(found), 1, found)
            self.assertTrue(found[0].startswith(f"x.ini:2: [{section}] {key}: "), found)

    def test_unknown_key(self) -> None:
        """An unknown key of a section under its former name is reported with that name."""
        [found] = problems("[cache]\nbackendd = sql\n")
        self.assertEqual(found, "x.ini:2: [cache] backendd: unknown key; did you mean 'backend'?")

    def test_unknown_section(self) -> None:
        """Advice for an unknown section gives current names."""
        [found] = problems("[nosuch]\n")
        self.assertIn("[catalog]", found)
        self.assertNotIn("[cache]", found)

    def test_file_of_pypicloud(self) -> None:
        """A former section in a config.ini of pypicloud is ignored like the current one."""
        for section in ("cache", "catalog"):
            text = (
                f"[app:main]\nuse = egg:pypicloud\nstorage.dir = /f\n[{section}]\nbackend = sql\n"
            )
            notes = translate(text, filename="/srv/c.ini", environ={}).notes
            [note] = [each for each in notes if f"[{section}]" in each.keys]
            self.assertIn("this file is pypicloud's", note.reason)


class EnvironmentTests(SynchronousTestCase):
    def test_each_variable(self) -> None:
        """A variable with a former name sets the key, and one line gives its current name."""
        for (section, key), (current_section, current, value) in KEYS.items():
            former, latest = variable(section, key), variable(current_section, current)
            config = read("", {former: value})
            self.assertEqual(config, read("", {latest: value}), key)
            self.assertEqual(
                config.notes,
                (f"{former} was renamed to {latest}. The former name still works.",),
            )
            self.assertEqual(config.origins[current_section, current], former)
            self.assertEqual(read("", {latest: value}).notes, ())

    def test_file(self) -> None:
        """So does one that names a file with the value."""
        for (section, key), (current_section, current, value) in KEYS.items():
            former = f"{variable(section, key)}_FILE"
            latest = f"{variable(current_section, current)}_FILE"
            config = read("", {former: "/run/x"}, read_file={"/run/x": value}.__getitem__)
            self.assertEqual(config, read("", {variable(current_section, current): value}))
            self.assertEqual(
                config.notes,
                (f"{former} was renamed to {latest}. The former name still works.",),
            )

    def test_both_variables(self) -> None:
        """Both variables together are a problem that names both."""
        for (section, key), (current_section, current, value) in KEYS.items():
            names = {variable(section, key), variable(current_section, current)}
            [found] = problems("", dict.fromkeys(names, value))
            first, second = sorted(names)
            self.assertEqual(
                found,
                f"{second}: [{current_section}] {current}: {first} sets the same key; set one of "
                "the two",
            )

    def test_over_the_file(self) -> None:
        """The environment wins over the file, whichever of them has the former name."""
        for (section, key), (current_section, current, value) in KEYS.items():
            expected = read("", {variable(current_section, current): value})
            default = keys(SECTIONS[current_section])[current].default
            for in_file, in_environ in (
                ((section, key), (current_section, current)),
                ((current_section, current), (section, key)),
            ):
                text = f"[{in_file[0]}]\n{in_file[1]} = {default}\n"
                config = read(text, {variable(*in_environ): value})
                self.assertEqual(config, expected)

    def test_advice(self) -> None:
        """Advice for an unknown variable gives the current name."""
        [found] = problems("", {"PYPID_SERVER_FRONT_DOORR": "no"})
        self.assertIn("did you mean PYPID_SERVER_FAST_PATH?", found)


class TableTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The table has exactly the names that this module tests, none of them current."""
        former = {
            spelling
            for section, declared in SECTIONS.items()
            for key in keys(declared)
            for spelling in list(spellings(section, key))[1:]
        }
        mixed = {("catalog", "snapshot"), ("catalog", "snapshot_interval")}
        mixed |= {("cache", "dump"), ("cache", "dump_interval")}
        self.assertEqual(former, set(KEYS) | mixed)
        self.assertEqual(len(FORMER_NAMES), 5)
        for section, key in FORMER_NAMES:
            self.assertNotIn(key if key else section, keys(SECTIONS[section]) if key else SECTIONS)
