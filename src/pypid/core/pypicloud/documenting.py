"""Generate the page docs/migrate/pypicloud-ini from the table of pypicloud's keys."""

from __future__ import annotations

from collections.abc import Iterable

from pypid.core.pypicloud.keys import (
    ACCESS,
    DIRECTORY,
    NOT_NEEDED,
    OTHER_PEOPLE,
    OTHER_STORAGES,
    STORAGE,
    UPSTREAM,
    Fate,
    KnownKey,
)

_HEAD = """\
pypicloud's config.ini
======================

pypid starts with pypicloud's ``config.ini`` as it is::

    twistd -n pypid --config config.ini

pypid translates its keys into its own configuration (:doc:`/reference/configuration`) at each
start. The file itself stays unchanged, so you can go back. The log names each key that is left out,
with the reason. ``pypid check-config config.ini`` prints the configuration in force and where each
value came from, without starting. ``pypid convert-config config.ini > pypid.ini`` writes pypid's
own file, with comments; it contains the old file's secrets.

How the file is read
--------------------

* pypid reads it as PasteDeploy does: ``[app:main]`` with its parents (``use = other``),
  ``[pipeline:main]``, ``[composite:main]`` and ``[filter-app:main]`` that lead to pypicloud; ``:``
  and ``=``; ``%(here)s``, ``%(__file__)s`` and the values of ``[DEFAULT]``. pypid does not know
  variables of ``pserve``'s command line (``%(http_port)s``): add ``[DEFAULT]`` with ``http_port =
  8080``.
* ``PPC_*`` variables override the file, as in pypicloud: ``PPC_PYPI_FALLBACK`` for
  ``pypi.fallback``. Users, groups and rights come from the file only. ``PYPID_*`` variables
  (:doc:`/reference/configuration`) override both: ``PYPID_SERVER_LISTEN``,
  ``PYPID_UPSTREAM_ALLOW_MIXED``, ``PYPID_SERVER_SECRET``.
* The key names of all versions are valid. If two keys mean the same, the newer name wins.
* Defaults are pypicloud's, not pypid's: ``read = authenticated``, ``write = nobody``, ``mode =
  redirect``.
* A file with the keys of pypicloud 0.1 and no later ones (``aws.bucket``, ``pypi.use_fallback``,
  ``user.NAME``) gets 0.1's rights: everyone may read, every user may publish. The log says so at
  the start. ``pypi.default_read`` and ``pypi.default_write`` change that.
* Relative paths begin at the working directory, as in pypicloud. The state is stored in
  ``pypid-state`` beside the file, or in ``/var/lib/pypid`` for a file below ``/etc``
  (``PYPID_SERVER_STATE``).
* ``[server:main]`` sets where to listen (``host``, ``port``, ``listen``,
  ``unix_socket``). ``trusted_proxy`` becomes ``trusted_proxies`` if it is an address. The other
  keys of the section, and the sections of gunicorn, uwsgi and logging, belong to other programs:
  with those, set ``PYPID_SERVER_LISTEN``, or pypid listens on tcp port 6543 of this machine.

Rights
------

The translation gives no user a right to read or publish that pypicloud did not give. In
particular:

* A package with its own entries takes no defaults, even if its entries allow nothing: then a group
  without members, ``pypicloud-nobody``, stands for it.
* ``package.<name>.user.<name>`` with more dots was silently ignored by pypicloud. It is still
  ignored, and the log names it.
* Before 0.4, pypicloud used names that are not normalized (``my_app``). Their rules apply to
  ``my-app``, but give a user at most the rights of the defaults: write ``my-app`` instead.
* ``w`` without ``r`` does not exist in pypid, where writers may read. It gives nothing.
* A user whose password hash cannot be verified, or whose name is invalid in pypid, is left out:
  that user could not log in. A group called ``admins`` or similar is renamed.
* Deleting requires the right to write, too (``delete_needs = write``). Administrators may always
  delete.
* With ``pypi.auth = sql`` or ``ldap``, users, groups and rights in the file have no effect, as in
  pypicloud. pypid reads pypicloud's accounts database once, at the first start, and never writes
  it.
* Code that ran inside pypicloud (``pyramid.tweens``, a filter in front of it, your own backend) may
  have denied access, and cannot run in pypid: pypid does not start until you remove that line.

Reasons not to start
--------------------

pypid does not start if it could lose data or grant access by mistake. Examples are a storage or a
source of users that pypid does not support (the error names an alternative), LDAP rules that would
match more users, and invalid values. Keys that are unknown to every pypicloud had no effect there,
so they are listed and left out.

All keys
--------

*Refused* keys stop the start if the file selects that storage or source of users; otherwise the key
has no effect, and is left out.
"""
_TITLES: tuple[tuple[str, tuple[KnownKey, ...]], ...] = (
    ("Upstream", UPSTREAM),
    ("Users and rights", ACCESS),
    ("LDAP", DIRECTORY),
    ("Other sources of users", OTHER_PEOPLE),
    ("Storage", STORAGE),
    ("Other storages", OTHER_STORAGES),
    ("Not needed", NOT_NEEDED),
)
_FAMILIES = {
    "package.": "package.<project>.user.<name>, package.<project>.group.<name>",
    "user.": "user.<name>",
    "group.": "group.<name>",
}
_WORDS = {Fate.TRANSLATED: "", Fate.IGNORED: "*ignored*: ", Fate.REFUSED: "*refused*: "}


def page() -> str:
    """Return the page ``docs/migrate/pypicloud-ini.rst``, generated from the table."""
    blocks = [_HEAD]
    for title, known in _TITLES:
        blocks.append(f"{title}\n{'~' * len(title)}\n")
        blocks.append(_table(known))
    return "\n".join(blocks)


def _table(known: Iterable[KnownKey]) -> str:
    rows = [
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 40 60",
        "",
        "   * - pypicloud",
        "     - pypid",
    ]
    for one in known:
        name = _FAMILIES.get(one.name) or (f"{one.name}*" if one.name.endswith(".") else one.name)
        shown = ", ".join(f"``{each}``" for each in name.split(", "))
        rows.append(f"   * - {shown}{f' ({one.since})' if one.since else ''}")
        rows.append(f"     - {_WORDS[one.fate]}{_escaped(one.text)}")
    return "\n".join(rows[1:]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("*", r"\*").replace("<", r"\<")
