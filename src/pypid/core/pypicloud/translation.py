"""Translate pypicloud's config.ini into a document of pypid's configuration, which is then checked
as usual. Pure, like the whole package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from posixpath import dirname, join, normpath

from attrs import evolve, field, frozen

from pypid.core.configuration import ini
from pypid.core.configuration.ini import IniDocument, IniEntry, printable
from pypid.core.configuration.keys import FREE, SECTIONS
from pypid.core.errors import ConfigProblem
from pypid.core.pypicloud.keys import are_first_generation
from pypid.core.pypicloud.ledger import Ledger, Note, TranslatedValue
from pypid.core.pypicloud.paste import Paste, PasteApp
from pypid.core.pypicloud.people import PypicloudGroups, admins, directory, groups, users
from pypid.core.pypicloud.rules import defaults, projects
from pypid.core.pypicloud.serving import serve
from pypid.core.pypicloud.settings import PypicloudSettings, Setting, of_environment, origin_of
from pypid.core.pypicloud.storage import storage
from pypid.core.pypicloud.upstream import upstream

_BACKENDS = {
    "ConfigAccessBackend": "config",
    "SQLAccessBackend": "sql",
    "LDAPAccessBackend": "ldap",
    "RemoteAccessBackend": "remote",
    "AWSSecretsManagerAccessBackend": "aws_secrets_manager",
}
_DOTTED = re.compile(r"pypicloud\.access(\.\w+)?\.(?P<name>\w+)\Z")
_TAKE_ALONG = (
    "take people along with `ppc-export` of pypicloud and `pypid user import`, and say pypi.auth = "
    "sql or config"
)
_REFUSED_BACKENDS = {
    "remote": f"users of a service of your own are not asked for: {_TAKE_ALONG}",
    "aws_secrets_manager": f"users in AWS Secrets Manager are not read: {_TAKE_ALONG}",
}
_HARMLESS = re.compile(
    r"(pyramid_(jinja2|mako|debugtoolbar|tm|beaker|duh|rpc|exclog|retry|mailer)|pyramid\.tweens"
    r"|ppc_logger)(\.\w+)*\Z"
)
"""Parts of the framework that do not restrict access."""
_LOGGING = re.compile(r"(loggers|handlers|formatters|(logger|handler|formatter)_.*)\Z")


@frozen
class Translation:
    """A config.ini in pypid's terms. `accounts`: the URL of pypicloud's accounts database, if it
    holds the users.
    """

    document: IniDocument
    values: Mapping[str, Mapping[str, TranslatedValue]] = field(repr=False)
    notes: tuple[Note, ...]
    accounts: str | None = field(default=None, repr=False)

    def in_its_words(self, problem: ConfigProblem) -> ConfigProblem:
        """Return a problem of one of pypid's keys, with the pypicloud keys that it comes from."""
        value = self.values.get(problem.section, {}).get(problem.key or "")
        if value is None or not value.keys or value.entry.line != problem.line:
            return problem
        return evolve(
            problem, message=f"from {', '.join(map(printable, value.keys))}: {problem.message}"
        )


def translate(
    text: bytes | str, *, filename: str, environ: Mapping[str, str], cwd: str = "/"
) -> Translation:
    """Translate the file's text and the ``PPC_*`` variables of `environ`, which win, as in
    pypicloud.

    `filename` is for messages, and gives the folder of the file, relative to `cwd`: relative paths
    are relative to that folder. Problems that stop the start are in the document. Never raises.
    """
    file = normpath(join(cwd, filename))
    document = ini.read(text, filename, ini.PASTE)
    ledger = Ledger(filename, problems=list(document.problems))
    for twice in document.repeated:
        reason = (
            f"{twice.message.partition(';')[0]}; this one holds, as with the pypiclouds that "
            f"started with it"
        )
        ledger.note(reason, IniEntry("", filename, twice.line), twice.key or f"[{twice.section}]")
    paste = Paste(document, ledger, dirname(file), file)
    app = paste.app()
    accounts = None
    if app is not None:
        accounts = _translated(app, ledger, environ, cwd)
        _other_sections(paste, app, ledger, cwd)
    return Translation(
        IniDocument(ledger.sections(), tuple(ledger.problems)),
        ledger.values,
        ledger.notes,
        accounts,
    )


def _translated(app: PasteApp, ledger: Ledger, environ: Mapping[str, str], cwd: str) -> str | None:
    of_variables = of_environment(environ, ledger)
    broken = {key: reason for key, reason in app.broken.items() if key not in of_variables}
    found = {**app.found, **of_variables}
    settings = PypicloudSettings(ledger, found, broken, are_first_generation(found))
    storage(settings, ledger, environ, cwd)
    mode = upstream(settings, ledger)
    accounts, there = _people(settings, ledger)
    defaults(settings, ledger, there, mode)
    _plugins(settings, ledger)
    settings.leave_the_rest()
    return accounts


def _people(settings: PypicloudSettings, ledger: Ledger) -> tuple[str | None, PypicloudGroups]:
    """Translate the users, groups and rights on projects; returns the accounts database and the
    groups.
    """
    nobody = PypicloudGroups({}, {})
    auth = settings.find("pypi.auth", "pypi.access_backend")
    if auth is None and {"pypi.auth", "pypi.access_backend"} & set(settings.found):
        return None, nobody  # already refused
    word = auth.text if auth else "config"
    dotted = _DOTTED.match(word)
    word = _BACKENDS.get(dotted["name"], word) if dotted else word
    came = origin_of(auth)
    match word:
        case "config":
            ledger.put("access", "backend", "config", *came)
            there = groups(settings, ledger)
            admins(settings, ledger, users(settings, ledger))
            projects(settings, ledger, there)
            return None, there
        case "sql":
            ledger.put("access", "backend", "config sql", *came)
            settings.ignore(
                "pypicloud does not look at it with pypi.auth = sql",
                "user.",
                "group.",
                "package.",
                "auth.admins",
            )
            return _accounts(settings, ledger, auth), PypicloudGroups({}, {}, others=True)
        case "ldap":
            return None, _ldap(settings, ledger, came)
        case _:
            assert auth is not None  # the default is config
            reason = f"pypid cannot run {printable(word)!r}: {_TAKE_ALONG}"
            ledger.refuse(_REFUSED_BACKENDS.get(word, reason), auth.entry, auth.key)
            return None, nobody


def _accounts(settings: PypicloudSettings, ledger: Ledger, auth: Setting | None) -> str | None:
    setting = settings.find("auth.db.url")
    if setting is None or not setting.text:
        if "auth.db.url" not in settings.broken:
            origin = setting or auth
            ledger.refuse(
                "pypi.auth = sql needs the URL of pypicloud's accounts database",
                origin.entry if origin else IniEntry("", ledger.filename),
                "auth.db.url",
            )
        return None
    reason = (
        "pypicloud's accounts are read from there once, at the first start, and never written; "
        "pypid has its own database"
    )
    ledger.note(reason, setting.entry, setting.key)
    return setting.text


def _ldap(
    settings: PypicloudSettings, ledger: Ledger, came: tuple[IniEntry, str] | tuple[()]
) -> PypicloudGroups:
    in_file = settings.text("auth.ldap.fallback") == "config"
    keys = ["auth.ldap.fallback"] if in_file else []
    ledger.put("access", "backend", "ldap", came[0] if came else None, *came[1:], *keys)
    directory(settings, ledger, in_file=in_file)
    settings.ignore(
        "people are in the directory: pypicloud does not look at it with pypi.auth = ldap",
        "user.",
        "auth.admins",
    )
    if in_file:
        there = groups(settings, ledger)
        projects(settings, ledger, there)
        return there
    settings.ignore(
        "pypicloud looks at it with auth.ldap.fallback = config only", "group.", "package."
    )
    return PypicloudGroups({}, {})


def _plugins(settings: PypicloudSettings, ledger: Ledger) -> None:
    """Refuse code that ran in pypicloud and may have restricted access."""
    for key in ("pyramid.includes", "pyramid.tweens"):
        setting = settings.find(key)
        if setting is None:
            continue
        odd = [word for word in setting.entry.text.split() if not _HARMLESS.match(word)]
        if odd:
            advice = "pypid cannot run it; if it does not restrict access, take it out of the file"
            ledger.refuse(
                f"{printable(' '.join(odd))} ran in pypicloud: {advice}", setting.entry, key
            )
        else:
            ledger.note(
                "not taken over: it configures the framework of pypicloud",
                setting.entry,
                key,
            )


def _other_sections(paste: Paste, app: PasteApp, ledger: Ledger, cwd: str) -> None:
    seen = app.looked_at | serve(paste, ledger, cwd)
    for name, section in paste.rest(seen):
        where = IniEntry("", ledger.filename, section.line)
        if _LOGGING.match(name):
            reason = (
                "pypid writes its log to standard output; PYPID_LOG_LEVEL and PYPID_LOG_FORMAT "
                "say how"
            )
        elif name in (*SECTIONS, *FREE):
            reason = (
                "not looked at, since this file is pypicloud's: `pypid convert-config` makes a "
                "configuration of pypid of it, and PYPID_* variables hold for both"
            )
        else:
            reason = "not looked at: it is not pypicloud's"
        ledger.note(reason, where, f"[{name}]")
