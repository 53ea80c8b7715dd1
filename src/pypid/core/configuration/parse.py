"""Parse INI text and environment into a `Config`, or report all problems at once.

Nothing is read here: the text, the environment and a function that reads files are arguments. A
config.ini of pypicloud is translated first (`core.pypicloud`), and the result is checked like a
pypid configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import define, evolve, field, frozen

from pypid.core.accounts.rights import Right, parse_right, repeated
from pypid.core.accounts.trusted_publishers import issuer_problems
from pypid.core.configuration import environment, ini
from pypid.core.configuration.checks import (
    Misfit,
    misfits_of_ldap,
    misfits_of_registration,
    misfits_of_server,
    misfits_of_signed_urls,
    misfits_of_storage,
    misfits_of_workers,
    nearest,
    value_of,
)
from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.configuration.keys import (
    FAMILIES,
    FREE,
    INDEX,
    ISSUER,
    REMOVED,
    SECTIONS,
    UPSTREAM,
    AccessSettings,
    AdvisorySettings,
    DatabaseSettings,
    IndexKeys,
    IssuerSettings,
    Key,
    LdapSettings,
    LogSettings,
    NamedUpstreamSettings,
    ServerSettings,
    SignedUrlSettings,
    StorageSettings,
    TrustSettings,
    UpstreamSettings,
    keys,
)
from pypid.core.configuration.values import UPSTREAM_NAME, USER, parse_hash, several
from pypid.core.errors import ConfigProblem
from pypid.core.indexes import (
    IndexSettings,
    check_indexes,
    index_name,
    is_index_name,
    settings_of_section,
)
from pypid.core.packaging.names import ProjectName, matches
from pypid.core.permissions import account_name
from pypid.core.policy import PUBLIC
from pypid.core.pypicloud import is_pypicloud

# Checks of the sections `[upstream:NAME]`, which are further upstream indexes for some names.

RESERVED_NAMES = (PUBLIC, "default")
"""Names that no section can have."""

_INHERITED = ("file_hosts", "ca_certificates", "cooldown", "require_hashes", "timeout", "ttl")
"""Keys whose value in `[upstream]` is the default for all named upstreams."""


def name_problem(prefix: str, name: str) -> str | None:
    """Return why a section cannot have this name after the `prefix`; None if it can."""
    if prefix == ISSUER:
        if len(name.split(maxsplit=1)) == 1 and name == name.lstrip() and name.isprintable():
            return None
        return "a name without white space follows the colon, as in [issuer:github]"
    if prefix == INDEX:
        try:
            index_name(name)
        except ValueError as error:
            return str(error)
        return None
    if name in RESERVED_NAMES:
        return f"the name {name} is reserved; choose another one"
    try:
        UPSTREAM_NAME.parse(name)
    except ValueError:
        return (
            "a name of lower-case letters, digits and - (40 at most) follows the colon, as in "
            "[upstream:cu128]"
        )
    return None


def misfits_of_upstreams(
    default: UpstreamSettings, named: Mapping[str, NamedUpstreamSettings]
) -> Iterator[Misfit]:
    """Yield the problems of all named upstreams together with `[upstream]`."""
    for name in unknown_upstreams(default.upstreams, named):
        advice = nearest(name, [*named, PUBLIC]) or f"; known: {' '.join([*named, PUBLIC])}"
        yield Misfit("upstream", "upstreams", f"there is no [{UPSTREAM}{name}]{advice}")
    for name, settings in named.items():
        section = UPSTREAM + name
        if not settings.url:
            yield Misfit(
                section,
                "url",
                "it is required: the Simple API address of the upstream",
            )
        if not settings.only:
            yield Misfit(
                section,
                "only",
                "it is required: the names that come from this upstream",
            )
        if settings.credentials is not None:
            for advice in _of_credentials(settings):
                yield Misfit(section, "credentials", advice)


def settings_of(default: UpstreamSettings, named: NamedUpstreamSettings) -> UpstreamSettings:
    """Return the settings of a named upstream; keys not set are those of `[upstream]`."""
    own = {key: getattr(named, key) for key in _INHERITED}
    return evolve(
        default,
        url=tuple(_with_credentials(url, named.credentials) for url in named.url),
        upstreams=(),
        **{key: value for key, value in own.items() if value not in (None, ())},
    )


def _with_credentials(url: str, credentials: str | None) -> str:
    if credentials is None:
        return url
    user, _, password = credentials.partition(":")
    split = urlsplit(url)
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return split._replace(netloc=f"{userinfo}@{split.netloc}").geturl()


def unknown_upstreams(
    chosen: Sequence[str], named: Mapping[str, NamedUpstreamSettings]
) -> Sequence[str]:
    """Return those of the `chosen` names that no section defines."""
    return [name for name in chosen if name not in named and name != PUBLIC]


def _of_credentials(settings: NamedUpstreamSettings) -> Iterator[str]:
    urls = [urlsplit(url) for url in settings.url]
    if any("@" in url.netloc for url in urls):
        yield "url has a user already; set only one of the two"
    elif len({(url.scheme, url.netloc.lower()) for url in urls}) > 1:
        yield "url names several hosts; put the user and password of each into its URL"


def never_asked(
    default: UpstreamSettings,
    named: Mapping[str, NamedUpstreamSettings],
    published: Collection[str] = (),
) -> Iterator[Misfit]:
    """Yield the patterns in `only` that have no effect, because another rule keeps the names from
    all upstreams. `published`: the names and globs that users have the right to publish
    (`[projects]`).
    """
    rules = {
        "[upstream] reserved": default.reserved,
        "[upstream] deny": default.deny,
        "[projects]": published,
    }
    for name, settings in named.items():
        for pattern in settings.only:
            for rule, names in rules.items():
                if matches(_as_name(pattern), names):
                    yield Misfit(
                        UPSTREAM + name,
                        "only",
                        f"{pattern} has no effect: {rule} has the same names",
                    )


def overlaps(
    default: UpstreamSettings, named: Mapping[str, NamedUpstreamSettings]
) -> Iterator[Misfit]:
    """Yield the patterns of an upstream that match names of another pattern of an earlier one: such
    names are requested from both.
    """
    chosen = [name for name in default.upstreams or named if name in named]
    for position, name in enumerate(chosen):
        for earlier in chosen[:position]:
            for pattern in named[name].only:
                for other in named[earlier].only:
                    if _overlap(pattern, other):
                        yield Misfit(
                            UPSTREAM + name,
                            "only",
                            f"{pattern} overlaps with {other} of [{UPSTREAM}{earlier}]: names that "
                            f"match both are requested from {earlier}, then from {name}",
                        )


def _overlap(pattern: str, other: str) -> bool:
    """Return whether two different patterns match the same names, as one contains the other."""
    return pattern != other and (
        matches(_as_name(pattern), [other]) or matches(_as_name(other), [pattern])
    )


def _as_name(pattern: str) -> ProjectName:
    """Return the pattern as a name that matches another pattern if all its names do."""
    return ProjectName(pattern.lower())


def misfits_of_issuers(issuers: Mapping[str, IssuerSettings]) -> Iterator[Misfit]:
    """Yield the problems of all issuers."""
    names: dict[str, str] = {}
    for name, issuer in issuers.items():
        section = ISSUER + name
        for key, message in issuer_problems(name, issuer.url, issuer.allow):
            yield Misfit(section, key, message, (section, "allow"))
        if issuer.url is not None and names.setdefault(issuer.url, name) != name:
            first = f"[{ISSUER}{names[issuer.url]}]"
            yield Misfit(section, "url", f"this is {first}; put the rules together there")


def misfits(config: Config) -> Iterator[Misfit]:
    """Yield the problems of all combinations of values."""
    yield from misfits_of_server(config.server)
    yield from misfits_of_storage(config.storage)
    yield from misfits_of_ldap(config.ldap, config.access)
    yield from misfits_of_workers(config.server, config.storage)
    yield from misfits_of_signed_urls(config.signed_urls)
    yield from misfits_of_registration(config.access)
    for key, other in repeated(config.projects).items():
        yield Misfit(
            "projects", key, f"this is the rule {printable(other)!r} again; remove one of the two"
        )
    yield from misfits_of_issuers(config.issuers)
    yield from misfits_of_upstreams(config.upstream, config.upstreams)
    for problem in check_indexes(config.indexes.values(), config.upstreams):
        yield Misfit(INDEX + problem.index, problem.key, problem.message)


_NONE: Mapping[str, Any] = MappingProxyType({})
_MEMBERS = Key(several(USER), "", "")


@frozen
class TakenOver:
    """Marks a configuration that is pypicloud's. `accounts`: the SQLAlchemy URL of its accounts
    database, if that holds the users.
    """

    accounts: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Config:
    """The checked configuration. `Config()` has all defaults."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    signed_urls: SignedUrlSettings = SignedUrlSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    access: AccessSettings = AccessSettings()
    ldap: LdapSettings = LdapSettings()
    advisories: AdvisorySettings = AdvisorySettings()
    trust: TrustSettings = TrustSettings()
    log: LogSettings = LogSettings()
    users: Mapping[str, str] = field(default=_NONE, repr=lambda users: f"<{len(users)} users>")
    """Password hashes by user name; not in the repr."""
    groups: Mapping[str, tuple[str, ...]] = _NONE
    """Members by group name."""
    projects: Mapping[str, Right] = _NONE
    """The rules of projects, by their keys."""
    issuers: Mapping[str, IssuerSettings] = _NONE
    """Issuers by the name after ``issuer:``."""
    upstreams: Mapping[str, NamedUpstreamSettings] = _NONE
    """Further upstream indexes by the name after ``upstream:``, in their order."""
    indexes: Mapping[str, IndexSettings] = _NONE
    """Named indexes by the name after ``index:``."""
    source: str = "pypid.ini"
    """The name of the configuration file."""
    origins: Mapping[tuple[str, str], str] = field(default=_NONE, repr=False, eq=False)
    """The origin of each set value, by (section, key): ``file:line`` or a variable's name."""
    taken_over: TakenOver | None = None
    """Set if the file is a config.ini of pypicloud."""
    notes: tuple[str, ...] = field(default=(), repr=False, eq=False)
    """Lines for the log of a start: the parts of a config.ini of pypicloud that are not taken over,
    or not unchanged, with the reason.
    """

    @property
    def inherits(self) -> str | None:
        """The URL of pypicloud's accounts database, to be read once, at the first start. It may
        contain a password.
        """
        return None if self.taken_over is None else self.taken_over.accounts

    def is_set(self, section: str, key: str) -> bool:
        """Return whether the file, the environment or pypicloud's ini sets the key."""
        return (section, key) in self.origins or self.taken_over is not None

    def path(self, text: str) -> str:
        """Return a path, resolved like `source`: relative ones begin at the file's folder."""
        return str(PurePosixPath(self.source).parent / text)


def parse_with_problems(
    text: bytes | str,
    *,
    filename: str,
    environ: Mapping[str, str],
    read_file: Callable[[str], str],
    cwd: str,
    options: Mapping[tuple[str, str], IniEntry] = MappingProxyType({}),
) -> tuple[Config, Sequence[ConfigProblem]]:
    """Return the configuration from the INI `text` and the ``PYPID_*`` variables of `environ`, with
    defaults in place of invalid values, and all problems.

    `filename` is for messages, and the base of relative paths. `read_file` returns the text of the
    file that a ``PYPID_..._FILE`` variable names (it may raise `OSError` and `ValueError`). `cwd`
    is the base of `filename`: in a config.ini of pypicloud relative paths begin there, and
    ``PPC_*`` variables apply. `options` are the values of the command line, by (section, key).
    """
    document = ini.read(text, filename)
    translation = None
    if is_pypicloud(document.sections):
        from pypid.core.pypicloud.translation import translate

        translation = translate(text, filename=filename, environ=environ, cwd=cwd)
        document = translation.document
    judge = _Judge(filename, [*document.problems])
    judge.names(document)
    entries = {name: dict(section.entries) for name, section in document.sections.items()}
    variables, unknown = environment.read(
        environ, (name for name in entries if name.startswith(tuple(FAMILIES))), read_file
    )
    judge.problems.extend(unknown)
    # the environment wins over the file, the command line over both
    for (section, key), entry in (*variables.items(), *options.items()):
        entries.setdefault(section, {})[key] = entry
    config = judge.config(entries)
    problems = in_order(judge.problems, filename)
    if translation is not None:
        problems = in_order(map(translation.in_its_words, judge.problems), filename)
        config = evolve(
            config,
            taken_over=TakenOver(translation.accounts),
            notes=tuple(map(str, translation.notes)),
        )
    return config, problems


def in_order(problems: Iterable[ConfigProblem], filename: str) -> list[ConfigProblem]:
    """Return the problems sorted by line; those outside the file last."""
    return sorted(problems, key=lambda each: (each.where != filename, each.line or 0))


@define
class _Judge:
    """Builds a `Config` from the entries and collects their problems."""

    filename: str
    problems: list[ConfigProblem]
    origins: dict[tuple[str, str], str] = field(factory=dict)

    def problem(self, section: str, key: str | None, entry: IniEntry | None, message: str) -> None:
        where, line = (entry.where, entry.line) if entry else (self.filename, None)
        self.problems.append(
            ConfigProblem(where, line, printable(section), key and printable(key), message)
        )

    def names(self, document: ini.IniDocument) -> None:
        """Report the unknown sections and keys of the file."""
        for name, section in document.sections.items():
            here = IniEntry("", self.filename, section.line)
            if name in FREE:
                continue
            if (name, None) in REMOVED:
                self.problem(name, None, here, REMOVED[name, None])
                continue
            family = next((prefix for prefix in FAMILIES if name.startswith(prefix)), None)
            if family is not None:
                problem = name_problem(family, name.removeprefix(family))
                if problem is not None:
                    self.problem(name, None, here, problem)
                declared = keys(FAMILIES[family])
            elif name in SECTIONS:
                declared = keys(SECTIONS[name])
            else:
                sections = [*SECTIONS, *FREE, *(f"{family}NAME" for family in FAMILIES)]
                advice = (
                    nearest(name, sections, "[{}]")
                    or f"; known: {' '.join(f'[{known}]' for known in sections)}"
                )
                self.problem(name, None, here, f"unknown section{advice}")
                continue
            for key, entry in section.entries.items():
                if key not in declared:
                    unknown = f"unknown key{self._elsewhere(key, declared)}"
                    self.problem(name, key, entry, REMOVED.get((family or name, key), unknown))

    def _elsewhere(self, key: str, declared: Mapping[str, Key]) -> str:
        homes = [f"[{name}]" for name, section in SECTIONS.items() if key in keys(section)]
        if homes:
            return f"; it belongs to {' or '.join(homes)}"
        return nearest(key, declared) or f"; known: {' '.join(declared)}"

    def config(self, by_section: Mapping[str, Mapping[str, IniEntry]]) -> Config:
        sections = {
            name: self._section(name, section, by_section.get(name, {}))
            for name, section in SECTIONS.items()
        }
        config = Config(
            **sections,
            users=self._free("users", by_section, _account(parse_hash)),
            groups=self._free("groups", by_section, _account(partial(value_of, _MEMBERS))),
            projects=self._free("projects", by_section, parse_right),
            issuers=self._family(ISSUER, by_section),
            upstreams=self._family(UPSTREAM, by_section),
            indexes=_named_indexes(self._family(INDEX, by_section)),
            source=self.filename,
            origins=MappingProxyType(self.origins),
        )
        self._together(config, by_section)
        return config

    def _family(
        self, prefix: str, by_section: Mapping[str, Mapping[str, IniEntry]]
    ) -> Mapping[str, Any]:
        return MappingProxyType(
            {
                name.removeprefix(prefix): self._section(name, FAMILIES[prefix], entries)
                for name, entries in by_section.items()
                if name.startswith(prefix)
            }
        )

    def _section(self, name: str, section: type[Any], entries: Mapping[str, IniEntry]) -> Any:
        values = {}
        for key, declared in keys(section).items():
            entry = entries.get(key)
            if entry is None or not entry.text.strip():
                continue
            try:
                values[key] = value_of(declared, entry.text.strip())
                self.origins[name, key] = entry.origin
            except ValueError as error:
                self.problem(name, key, entry, str(error))
        return section(**values)

    def _free(
        self,
        name: str,
        by_section: Mapping[str, Mapping[str, IniEntry]],
        read: Callable[[str, str], Any],
    ) -> Mapping[str, Any]:
        entries = by_section.get(name, {})
        values = {}
        for key, entry in entries.items():
            shown = key.partition(":")[0]  # the key may be a slip such as alice:password
            try:
                values[key] = read(key, entry.text.strip())
                self.origins[name, key] = entry.origin
            except ValueError as error:
                self.problem(name, shown, entry, str(error))
        return MappingProxyType(values)

    def _together(self, config: Config, by_section: Mapping[str, Mapping[str, IniEntry]]) -> None:
        """Check combinations of values that are valid by themselves; a key is reported once."""
        reported = {(each.section, each.key) for each in self.problems}
        for section, key, advice, instead in misfits(config):
            if (section, key) not in reported:
                places = ((section, key), instead)
                entries = (by_section.get(name, {}).get(each) for name, each in places)
                entry = next((entry for entry in entries if entry and entry.text.strip()), None)
                self.problem(section, key or None, entry, advice)


def _named_indexes(sections: Mapping[str, IndexKeys]) -> Mapping[str, IndexSettings]:
    """Return the settings of the indexes; those with an invalid name are reported already."""
    valid = {name: keys for name, keys in sections.items() if is_index_name(name)}
    return MappingProxyType({name: settings_of_section(name, each) for name, each in valid.items()})


def _account(read: Callable[[str], Any]) -> Callable[[str, str], Any]:
    """Return a reader for sections whose keys are names of users or groups."""

    def entry(name: str, text: str) -> Any:
        account_name(name)
        return read(text)

    return entry
