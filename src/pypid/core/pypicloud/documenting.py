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

What it says is translated into pypid's own configuration (:doc:`/reference/configuration`) at
each start. Nothing of it is changed, so that you can go back. What is not taken over is said in
the log, once for each key, with the reason. ``pypid check-config config.ini`` prints what is in
force, and where each value came from, without starting. ``pypid convert-config config.ini >
pypid.ini`` writes pypid's own file, with comments; it holds the old file's secrets.

How it is read
--------------

* As PasteDeploy reads it: ``[app:main]`` with what it inherits (``use = other``),
  ``[pipeline:main]``, ``[composite:main]`` and ``[filter-app:main]`` that lead to pypicloud; ``:``
  beside ``=``; ``%(here)s``, ``%(__file__)s`` and what ``[DEFAULT]`` says. A variable that
  ``pserve`` was given on its command line (``%(http_port)s``) is not known here: add ``[DEFAULT]``
  with ``http_port = 8080``.
* ``PPC_*`` variables win over it, as with pypicloud: ``PPC_PYPI_FALLBACK`` for ``pypi.fallback``.
  Users, groups and rights come from the file only. ``PYPID_*`` variables
  (:doc:`/reference/configuration`) win over both: ``PYPID_SERVER_LISTEN``,
  ``PYPID_UPSTREAM_ALLOW_MIXED``, ``PYPID_SERVER_SECRET``.
* The names of all versions are understood, the oldest ones, too. Where two say the same, the
  newest name counts.
* What the file does not say is as pypicloud has it, not as pypid has it: ``read = authenticated``,
  ``write = nobody``, ``mode = redirect``.
* A file with the keys of pypicloud 0.1 and no later ones (``aws.bucket``, ``pypi.use_fallback``,
  ``user.NAME``) gets 0.1's rights: everyone may read, every user may publish. The log says so at
  the start. ``pypi.default_read`` and ``pypi.default_write`` change that.
* Relative paths begin at the folder that pypid is started in, as with pypicloud. State lies in
  ``pypid-state`` beside the file, or in ``/var/lib/pypid`` for a file below ``/etc``
  (``PYPID_SERVER_STATE``).
* ``[server:main]`` of waitress or gunicorn says where to listen (``host``, ``port``, ``listen``,
  ``unix_socket``, ``bind``), or else ``[uwsgi]`` (``http``, ``https``). ``trusted_proxy`` becomes
  ``trusted_proxies`` if it is an address. All else of these sections, and those for logging, are
  of other programs.

Who may do what
---------------

The translation gives no user a right to read or publish that pypicloud did not give. In
particular:

* A package with entries of its own takes no defaults, even if its entries allow nothing: then a
  group without members, ``pypicloud-nobody``, stands for it.
* ``package.<name>.user.<name>`` with more dots in it was ignored by pypicloud without a word. It
  stays ignored, and the log says so.
* A name that is not spelled in its normalised form (``my_app``) was heeded before 0.4 only. Its
  rules hold for ``my-app``, but give no user more than the defaults do: spell it ``my-app``.
* ``w`` without ``r`` does not exist here: who may write may read. It gives nothing.
* A user whose password hash is of a kind that cannot be verified, or whose name no user can have
  here, is left out, since that user could not log in. A group called ``admins`` or the like is
  renamed.
* Deleting takes the right to write, too (``delete_needs = write``). Administrators may always
  delete.
* With ``pypi.auth = sql`` or ``ldap``, users, groups and rights in the file have no effect, as
  with pypicloud. The accounts database of pypicloud is read once, at the first start, and never
  written.
* Code that ran inside pypicloud (``pyramid.tweens``, a filter in front of it, a backend of your
  own) may have kept people out, and cannot be run: pypid does not start until that line is gone.

What stops the start
--------------------

Only what could lose data or grant access by mistake: a storage or a source of users that pypid
does not have (with what to do instead), LDAP rules that would match more users, values that cannot
be understood. Keys that no pypicloud knows had no effect there, so they are listed and left out.

All keys
--------

*Refused* means: where the file chooses that storage or those people; otherwise the key has no
effect, and is left out.
"""
_TITLES: tuple[tuple[str, tuple[KnownKey, ...]], ...] = (
    ("What is not ours", UPSTREAM),
    ("People and rights", ACCESS),
    ("LDAP", DIRECTORY),
    ("Other sources of people", OTHER_PEOPLE),
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
