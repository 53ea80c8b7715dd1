"""Read PasteDeploy files: find the app's section, what it inherits, the filters before it, and its
values.

Follows ``paste.deploy.loadwsgi`` (PasteDeploy 3.1): names are case-sensitive; ``[DEFAULT]`` is for
interpolation only, and a key that is also in there is not a setting of the app.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from attrs import define, field, frozen

from pypid.core.configuration.ini import IniDocument, IniEntry, IniSection, printable
from pypid.core.pypicloud import LEADING
from pypid.core.pypicloud.keys import PEOPLE, SWEPT, Fate, Ledger, known, names

_APP = ("app", "application")
_COMPOSITE = ("composite", "composit")
_OWN = ("pypi.", "storage.", "aws.", "auth.", "db.", "sqlalchemy.", "user.", "session.")
"""Prefixes of pypicloud's keys."""
_SYNTAX = ("use", "filter-with", "require", "paste.app_factory")
_REFERENCE = re.compile(r"%%|%\((?P<name>[^)]+)\)s|(?P<stray>%)")
_DEEPEST = 10
_HARMLESS = re.compile(
    r"egg:(PasteDeploy#prefix|Paste#(translogger|gzip|evalerror|cgitb|printdebug|lint)"
    r"|WebError.*)\Z",
    re.IGNORECASE,
)
"""Filters that do not restrict access."""
_NO_PYPICLOUD = "this is a file for PasteDeploy, but no pypicloud is in it"
PREFIX_FILTER = "egg:PasteDeploy#prefix"


@define
class Paste:
    """A PasteDeploy file, and the settings of the pypicloud app in it. `here`: the absolute folder
    that it is in; `file`: its own path.
    """

    document: IniDocument
    ledger: Ledger
    here: str
    file: str
    _looked_at: set[str] = field(factory=lambda: {"DEFAULT"})
    _set: dict[str, tuple[str, str]] = field(factory=dict)
    """Values set for all apps, each with the section that sets it."""
    found: dict[str, IniEntry] = field(factory=dict)
    """The settings, with interpolated values."""
    broken: dict[str, str] = field(factory=dict)
    """Why some could not be interpolated."""

    def find_app(self) -> bool:
        """Find the pypicloud app of the file; False, with a problem, if there is not just one."""
        start = self._start()
        return start is not None and self._follow(start)

    def values(self, section: str) -> tuple[Mapping[str, IniEntry], Mapping[str, str]]:
        """Return the interpolated keys of any section, and why some could not be interpolated."""
        self._looked_at.add(section)
        filled, broken = {}, {}
        for key, entry in self.document.sections[section].entries.items():
            text = self._filled(entry.text, section)
            if isinstance(text, _Broken):
                broken[key] = text.reason
            filled[key] = (
                entry if isinstance(text, _Broken) else IniEntry(text, entry.where, entry.line)
            )
        return filled, broken

    # --- which section ----------------------------------------------------------------------------

    def _start(self) -> str | None:
        leading = [name for name in self.document.sections if _kind(name)[0] in LEADING]
        main = [name for name in leading if _kind(name)[1] in ("main", "")]
        likely = main or [name for name in leading if self._is_pypicloud(name)]
        if len(likely) == 1:
            return likely[0]
        if likely:
            shown = " ".join(f"[{printable(name)}]" for name in likely)
            self._refuse(
                likely[0],
                (f"several of these may be pypicloud: {shown}; call one of them [app:main]"),
            )
        else:
            self._refuse(leading[0], _NO_PYPICLOUD)
        return None

    def _is_pypicloud(self, name: str) -> bool:
        entries = self.document.sections[name].entries
        return any(key.startswith(_OWN) for key in entries) or "pypicloud" in _text(
            entries, "use"
        ) + _text(entries, "paste.app_factory")

    def _follow(self, name: str) -> bool:
        """Take over the settings of the section and of those it builds on. False, with a problem,
        if that leads to no pypicloud.
        """
        if name in self._looked_at:
            return self._refuse(name, "it leads back to itself")
        self._looked_at.add(name)
        entries, kind = self._local(name), _kind(name)[0]
        if "filter-with" in entries:
            self._filter(entries.pop("filter-with").text.strip(), name)
        if kind == "pipeline":
            *filters, last = _text(entries, "pipeline").split() or [""]
            for each in filters:
                self._filter(each, name)
            return self._follow_name(last, name)
        if kind == "filter-app":
            self._judge_filter(_text(entries, "use"), name)
            return self._follow_name(_text(entries, "next"), name)
        if kind in _COMPOSITE:
            return self._composite(entries, name)
        return self._inherit(entries, name)

    def _inherit(self, entries: dict[str, IniEntry], name: str) -> bool:
        use = _text(entries, "use")
        scheme, colon, _ = use.partition(":")
        mine = {key: entry for key, entry in entries.items() if key not in _SYNTAX}
        if not use or colon:
            if scheme == "config":
                return self._refuse(
                    name,
                    "use: what other files say is not read; put their keys into this one",
                    "use",
                )
            if not self._is_pypicloud(name) or (use and "pypicloud" not in use.lower()):
                return self._refuse(name, _NO_PYPICLOUD, "use")
        elif not self._follow_name(use, name):
            return False
        self.found.update(mine)
        return True

    def _follow_name(self, wanted: str, name: str) -> bool:
        scheme, colon, _ = wanted.partition(":")
        if colon and scheme == "egg" and "pypicloud" in wanted:
            return True  # an app without settings
        found = [
            each
            for each in self.document.sections
            if _kind(each)[0] in LEADING and _kind(each)[1] == wanted
        ]
        if len(found) != 1:
            return self._refuse(name, f"there is no app called {printable(wanted)!r} in this file")
        return self._follow(found[0])

    def _composite(self, entries: dict[str, IniEntry], name: str) -> bool:
        paths = {
            path: entry.text.strip()
            for path, entry in entries.items()
            if path.startswith(("/", "http"))
        }
        ours = [path for path, app in paths.items() if self._leads_to_pypicloud(app)]
        if len(ours) != 1:
            return self._refuse(name, "pypicloud has to be at one of its paths, and at no other")
        others = [path for path in paths if path not in ours]
        if others:
            self.ledger.note("other apps of this file are not served", entries[others[0]], *others)
        if ours[0].rstrip("/"):
            self.ledger.note(
                "pypid answers at / alone: let the proxy in front of it take this path away, and "
                "say [server] public_url",
                entries[ours[0]],
                ours[0],
            )
        return self._follow_name(paths[ours[0]], name)

    def _leads_to_pypicloud(self, app: str) -> bool:
        if ":" in app:
            return "pypicloud" in app
        return any(
            _kind(each) == (kind, app) and (kind not in _APP or self._is_pypicloud(each))
            for each in self.document.sections
            for kind in LEADING
        )

    # --- what stands before it --------------------------------------------------------------------

    def _filter(self, wanted: str, name: str) -> None:
        section = f"filter:{wanted}"
        if ":" in wanted or section not in self.document.sections:
            self._judge_filter(wanted, name)
            return
        if section in self._looked_at:
            return
        self._looked_at.add(section)
        entries = self._local(section)
        self._judge_filter(
            _text(entries, "use")
            or _text(entries, "paste.filter_factory")
            or _text(entries, "paste.filter_app_factory"),
            section,
        )
        if "filter-with" in entries:
            self._filter(entries["filter-with"].text.strip(), section)
        if _text(entries, "use").lower() == PREFIX_FILTER.lower():
            self._prefix(entries, section)

    def _judge_filter(self, use: str, name: str) -> None:
        if not _HARMLESS.match(use):
            advice = "pypid cannot run it; if it does not restrict access, take it out of the file"
            self._refuse(name, f"before pypicloud stood the filter {printable(use)!r}: {advice}")

    def _prefix(self, entries: Mapping[str, IniEntry], section: str) -> None:
        here = IniEntry("", self.ledger.filename, self.document.sections[section].line)
        self.ledger.note(
            "pypicloud believed the X-Forwarded-* headers of all clients; name your proxies in "
            "[server] trusted_proxies (PYPID_SERVER_TRUSTED_PROXIES), whose headers pypid believes",
            here,
            f"[{section}]",
        )
        if "scheme" in entries:
            self.ledger.note(
                "for URLs with another scheme say [server] public_url (PYPID_SERVER_PUBLIC_URL)",
                entries["scheme"],
                "scheme",
            )
        if _text(entries, "prefix").strip("/"):
            self.ledger.note(
                "pypid answers at / alone: let the proxy in front of it take this path away, and "
                "say [server] public_url",
                entries["prefix"],
                "prefix",
            )

    # --- values -----------------------------------------------------------------------------------

    def _local(self, name: str) -> dict[str, IniEntry]:
        """Return the settings of one section: without those for all apps, and with those that it
        gets from them.
        """
        defaults = self._defaults()
        local: dict[str, IniEntry] = {}
        got: dict[str, IniEntry] = {}
        for_all = self.document.sections.get("DEFAULT", IniSection(0, {})).entries
        entries = self.document.sections[name].entries
        for key, entry in {
            **{k: e for k, e in for_all.items() if k.startswith(("get ", "set "))},
            **entries,
        }.items():
            word, _, rest = key.partition(" ")
            if word == "set" and rest:
                self._set[rest.strip()] = (entry.text, name)
                self.ledger.note(
                    "it is for all apps of the file, and no setting of pypicloud's", entry, key
                )
            elif word == "get" and rest:
                got[rest.strip()] = entry
            elif key in defaults:
                self.ledger.note(
                    "pypicloud does not see it, since [DEFAULT] has it, too", entry, key
                )
            else:
                local[key] = self._made(key, entry, entry.text, name)
        for key, entry in got.items():
            source = self._filled(entry.text, name)
            wanted = source.strip() if isinstance(source, str) else ""
            text, where = self._set.get(wanted) or (defaults.get(wanted), "DEFAULT")
            local[key] = self._made(key, entry, f"%({wanted})s" if text is None else text, where)
        return local

    def _made(self, key: str, entry: IniEntry, text: str, name: str) -> IniEntry:
        """Return the entry with its value interpolated; a value that cannot be is recorded as
        `broken`.
        """
        filled = self._filled(text, name)
        self.broken.pop(key, None)
        if isinstance(filled, _Broken):
            self.broken[key] = filled.reason
            return entry
        return IniEntry(filled, entry.where, entry.line)

    def _defaults(self) -> Mapping[str, str]:
        section = self.document.sections.get("DEFAULT", IniSection(0, {}))
        return {
            "here": self.here,
            "__file__": self.file,
            **{key: entry.text for key, entry in section.entries.items()},
        }

    def _filled(self, text: str, name: str, depth: int = 0) -> str | _Broken:
        """Return the text with each ``%(name)s`` replaced, as configparser does."""
        if "%" not in text:  # almost always: a file may have ten thousand rights
            return text
        own = self.document.sections[name].entries if name in self.document.sections else {}
        values = {**self._defaults(), **{key: entry.text for key, entry in own.items()}}
        if depth > _DEEPEST:
            return _Broken("what it refers to refers back to it")
        pieces, end = [], 0
        for match in _REFERENCE.finditer(text):
            pieces.append(text[end : match.start()])
            end = match.end()
            wanted = match["name"]
            if match["stray"]:
                return _Broken("a literal % is written %%")
            if wanted is None:
                pieces.append("%")
            elif wanted not in values:
                shown = printable(wanted)
                return _Broken(
                    f"%({shown})s is not said in this file; add [DEFAULT] with {shown} = ..."
                )
            else:
                inner = self._filled(values[wanted], name, depth + 1)
                if isinstance(inner, _Broken):
                    return inner
                pieces.append(inner)
        return "".join([*pieces, text[end:]])

    def _refuse(self, name: str, message: str, key: str = "") -> bool:
        section = self.document.sections[name]
        self.ledger.refuse(
            message,
            section.entries.get(key, IniEntry("", self.ledger.filename, section.line)),
            key,
            name,
        )
        return False

    def rest(self, looked_at: frozenset[str]) -> Iterator[tuple[str, IniSection]]:
        """Yield the sections that were not read, without those of `looked_at`."""
        return (
            (name, section)
            for name, section in self.document.sections.items()
            if name not in looked_at | self._looked_at
        )


@frozen
class _Broken:
    """The reason that a value is not available."""

    reason: str


def _kind(name: str) -> tuple[str, str]:
    """Return the parts of a section's name: ``app`` and ``main`` of ``app:main``."""
    kind, _, rest = name.partition(":")
    return kind, rest.strip()


def _text(entries: Mapping[str, IniEntry], key: str) -> str:
    return entries[key].text.strip() if key in entries else ""


# The settings of the pypicloud app in a file and in the environment, read like pypicloud.

PREFIX = "PPC_"
_COMMENT = re.compile(r"(?<=\s)[;#]")
_TRUE = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE = frozenset({"f", "false", "n", "no", "off", "0", ""})


def without_comment(text: str) -> str:
    """Return `text` up to a comment that begins with ``;`` or ``#`` after white space.

    Python 2's ConfigParser dropped the first kind, and the README of pypicloud 0.1 shows the
    second.
    """
    return _COMMENT.split(text, maxsplit=1)[0].strip()


def variable(name: str) -> str:
    """Return the environment variable for a key: ``PPC_PYPI_FALLBACK`` for ``pypi.fallback``."""
    return PREFIX + name.upper().replace(".", "_")


def asbool(text: str) -> bool:
    """Return whether the text means yes to Pyramid's settings: every other text means no."""
    return text.strip().lower() in _TRUE


def is_boolean(text: str) -> bool:
    """Return whether the text is a word that Pyramid's settings read as yes or no."""
    return text.strip().lower() in _TRUE | _FALSE


@frozen
class Setting:
    """A key of the app that is set, as the file or the environment spells it, and its value."""

    key: str
    entry: IniEntry

    @property
    def text(self) -> str:
        """The value without white space around it."""
        return self.entry.text.strip()


def origin_of(setting: Setting | None) -> tuple[IniEntry, str] | tuple[()]:
    """Return the last arguments of `Ledger.put` for a value that comes from the setting."""
    return (setting.entry, setting.key) if setting else ()


@define
class PypicloudSettings:
    """The keys of the app, by name. A key that is requested counts as accounted for."""

    ledger: Ledger
    found: Mapping[str, IniEntry]
    broken: Mapping[str, str]
    """Why the values of some keys are not available (interpolation)."""
    is_first_generation: bool = False
    """Whether the names are those of pypicloud 0.1 (`keys.are_first_generation`)."""
    _used: set[str] = field(factory=set)

    def find(self, *spellings: str) -> Setting | None:
        """Return the first of these keys that is set; a value that is not available is refused."""
        there = [name for name in spellings if name in self.found]
        self._used.update(there)
        if not there:
            return None
        first, *others = there
        if others:
            self.ledger.note(
                f"{first} sets the same, and is what counts", self.found[others[0]], *others
            )
        if first in self.broken:
            self.ledger.refuse(self.broken[first], self.found[first], first)
            return None
        return Setting(first, self.found[first])

    def text(self, *spellings: str) -> str:
        """Return the text of the first of these keys that is set, or an empty one."""
        setting = self.find(*spellings)
        return setting.text if setting else ""

    def copy(self, section: str, key: str, *spellings: str) -> None:
        """Set a key of pypid's to the text of the first of these keys that is set."""
        setting = self.find(*spellings)
        if setting is not None and setting.text:
            self.ledger.put(section, key, setting.text, setting.entry, setting.key)

    def family(self, prefix: str) -> Iterator[tuple[str, IniEntry]]:
        """Yield the keys with the prefix by the rest of their names; broken values are refused."""
        for name in self.found:
            if name.startswith(prefix) and (setting := self.find(name)):
                yield name.removeprefix(prefix), setting.entry

    def ignore(self, reason: str, *prefixes: str) -> None:
        """Leave out all keys with one of the prefixes."""
        for name, entry in self.found.items():
            if name.startswith(prefixes) and name not in self._used:
                self._used.add(name)
                self.ledger.note(reason, entry, name)

    def leave_the_rest(self) -> None:
        """Account for the keys that were not requested, and for those that made no difference."""
        accounted = self.ledger.accounted()
        for name, entry in self.found.items():
            if name in self._used:
                if name not in accounted:
                    self.ledger.note("it changes nothing beside what else holds", entry, name)
                continue
            fate = known(name)
            if fate is None:
                close = get_close_matches(name[:80], names(), 1, 0.8)
                hint = (
                    f"; did you mean {close[0]}? pypicloud ignored it, too"
                    if close
                    else ", so it is ignored"
                )
                self.ledger.note(f"no pypicloud has such a key{hint}", entry, name)
            elif fate.fate is Fate.IGNORED:
                self.ledger.note(f"not taken over: {fate.text}", entry, name)
            else:
                self.ledger.note(
                    (
                        "not taken over: it is of a storage or of people that this file does not "
                        "choose"
                    ),
                    entry,
                    name,
                )


def of_environment(environ: Mapping[str, str], ledger: Ledger) -> dict[str, IniEntry]:
    """Return the values of ``PPC_*`` variables, by key. Users, groups and rights on packages come
    from the file only, as in pypicloud.
    """
    meant = {variable(name): name for name in names()}
    found: dict[str, IniEntry] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        entry = IniEntry(value, name)
        if name in meant:
            found[meant[name]] = entry
        elif any(name.startswith(variable(family)) for family in PEOPLE):
            ledger.note(
                "users, groups and rights come from the file only, as in pypicloud", entry, name
            )
        elif family := next((each for each in SWEPT if name.startswith(variable(each))), None):
            found[family + name.removeprefix(variable(family)).lower()] = entry
        else:
            ledger.note("no pypicloud has a key of this name, so it is ignored", entry, name)
    return found
