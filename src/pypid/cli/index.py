"""The `index` command, which manages named indexes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.grammar import add_command, add_group
from pypid.cli.output import (
    format_time,
    print_answer,
    print_warnings,
    printable,
    table_of,
    with_token,
)
from pypid.cli.request import add_request, send_request

INDEXES = """\
  pypid index create team-a write=group:team-a
  pypid index list
  pypid index show team-a
  pypid index set team-a read='group:team-a ci'
  pypid index delete team-a

A named index has URLs of its own: /team-a/simple/ to install, /team-a/legacy/ to publish. It
shows its own projects, and those of its bases (by default, those of the default index). A
project of the index hides the project of the same name in its bases.
"""
CREATE = """\
  pypid index create team-a write=group:team-a
  pypid index create team-b read=group:team-b write=group:team-b
  pypid index create staging volatile=yes
  pypid index create private bases=none

KEY is a key of [index:NAME] in the configuration, and VALUE is spelled as there:

  bases=default        where other projects come from: names of indexes, default, public, none
  read=, write=        users who may read it and publish to it; without them, as in [access]
  volatile=yes         users who may publish may also overwrite and delete files
  allow=, deny=        names and globs of the inherited projects that it shows or hides
  expires=2027-01-31   the last day of the index (UTC)

All keys: docs/reference/configuration.html. An index that the configuration defines
([index:NAME]) can be changed only there.
"""
LIST = """\
  pypid index list

An empty READ or WRITE means: as in [access] of the configuration. Each index also shows the
projects of its BASES.
"""
SHOW = """\
  pypid index show team-a
"""
SET = """\
  pypid index set team-a read='group:team-a ci' volatile=yes
  pypid index set team-a read=

KEY= without a value restores the default. Other keys stay as they are.
"""
DELETE = """\
  pypid index delete team-a
  pypid index delete team-a --force

An index that is a base of another index cannot be deleted. To delete an index with files, use
--force: it deletes all files that were published to the index. An index of the configuration
is deleted with its section [index:NAME]; --force then deletes the files that it leaves.
"""


def add(commands: Any) -> None:
    """Declare the `index` command."""
    verbs = add_group(commands, "index", "manage named indexes", examples=INDEXES)
    about = "create a named index"
    creating = add_command(verbs, "create", _create, about, config=True, examples=CREATE)
    creating.add_argument(
        "name", metavar="NAME", help="lowercase letters, digits and hyphens; at most 40 characters"
    )
    _add_values(creating, "*")
    about = "list the named indexes"
    add_request(verbs, "list", about, "GET /api/indexes", _PRINT_INDEXES, examples=LIST)
    about = "show the URLs and the settings of an index"
    path = "/api/indexes/{name}"
    showing = add_request(verbs, "show", about, f"GET {path}", _print_index, examples=SHOW)
    _add_name(showing)
    about = "change settings of an index"
    setting = add_command(verbs, "set", _set, about, config=True, examples=SET)
    _add_name(setting)
    _add_values(setting, "+")
    about = "delete an index"
    deleting = add_command(verbs, "delete", _delete, about, config=True, examples=DELETE)
    _add_name(deleting)
    deleting.add_argument("--force", action="store_true", help="also delete its files")


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="the name of the index")


def _add_values(command: argparse.ArgumentParser, count: str) -> None:
    command.add_argument(
        "values",
        metavar="KEY=VALUE",
        nargs=count,
        type=_pair,
        help="a setting, spelled as in [index:NAME] of the configuration",
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as write=group:team-a")
    return key.strip(), value.strip()


def _create(options: argparse.Namespace) -> None:
    values = {key: value for key, value in options.values if value}
    document = {"name": options.name, "values": values}
    print_answer(options, send_request(options, "POST", "/api/indexes", document), _print_created)


def _print_created(answer: Mapping[str, Any]) -> None:
    print(f"{answer['name']}: created")
    _print_urls(answer)
    if answer["hides"]:
        print(
            f"/{answer['hides']}/ now leads to this index. The project of this name is still at "
            f"/simple/{answer['hides']}/."
        )
    print_warnings(answer)


def _print_urls(answer: Mapping[str, Any]) -> None:
    url = printable(answer["index"])
    shown = with_token(url) if answer["login"] else url
    print(f"install: pip install --index-url {shown} PROJECT")
    print(f"publish: uv publish --publish-url {printable(answer['upload'])} dist/*")


def _notes(index: Mapping[str, Any]) -> Iterable[str]:
    if index["volatile"]:
        yield "volatile"
    if index["expires"]:
        yield f"expires {format_time(index['expires'])}"
    if index.get("configured"):
        yield "configuration"


_PRINT_INDEXES = table_of(
    "indexes",
    "index",
    {
        "NAME": "name",
        "BASES": lambda index: " ".join(index["bases"]) or "none",
        "READ": lambda index: index.get("values", {}).get("read", ""),
        "WRITE": lambda index: index.get("values", {}).get("write", ""),
        "NOTE": lambda index: ", ".join(_notes(index)),
    },
    "indexes",
)


def _print_index(answer: Mapping[str, Any]) -> None:
    _print_urls(answer)
    for key, value in answer.get("values", {}).items():
        print(f"{key} = {printable(value)}")
    if answer.get("configured"):
        print(f"set in [index:{answer['name']}] of the configuration")
    elif answer.get("created"):
        print(f"created {format_time(answer['created'])} UTC by {printable(answer['by'])}")
    print_warnings(answer)


def _set(options: argparse.Namespace) -> None:
    document = {"values": {key: value or None for key, value in options.values}}
    answer = send_request(options, "PATCH", _path_of(options), document)
    print_answer(options, answer, _print_index)


def _delete(options: argparse.Namespace) -> None:
    force = "?force" if options.force else ""
    answer = send_request(options, "DELETE", _path_of(options) + force)
    print_answer(options, answer, lambda answer: print(f"{printable(answer['name'])}: deleted"))


def _path_of(options: argparse.Namespace) -> str:
    return f"/api/indexes/{quote(options.name, safe='')}"
