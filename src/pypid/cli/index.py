"""The `index` command, which manages named indexes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from pypid.cli.grammar import Argument, argument, command_group, flag
from pypid.cli.output import (
    format_time,
    print_done,
    print_warnings,
    printable,
    table_of,
    with_token,
)
from pypid.cli.request import request_command

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


def _values(count: str) -> Argument:
    return argument(
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


_NAME = argument("name", metavar="NAME", help="the name of the index")
COMMANDS = (
    command_group(
        "index",
        "manage named indexes",
        INDEXES,
        request_command(
            "create",
            "create a named index",
            "POST /api/indexes",
            _print_created,
            argument(
                "name",
                metavar="NAME",
                help="lowercase letters, digits and hyphens; at most 40 characters",
            ),
            _values("*"),
            examples=CREATE,
            body=lambda options: {
                "name": options.name,
                "values": {key: value for key, value in options.values if value},
            },
        ),
        request_command(
            "list", "list the named indexes", "GET /api/indexes", _PRINT_INDEXES, examples=LIST
        ),
        request_command(
            "show",
            "show the URLs and the settings of an index",
            "GET /api/indexes/{name}",
            _print_index,
            _NAME,
            examples="  pypid index show team-a",
        ),
        request_command(
            "set",
            "change settings of an index",
            "PATCH /api/indexes/{name}",
            _print_index,
            _NAME,
            _values("+"),
            examples=SET,
            body=lambda options: {"values": {key: value or None for key, value in options.values}},
        ),
        request_command(
            "delete",
            "delete an index",
            lambda options: f"DELETE /api/indexes/{{name}}{'?force' if options.force else ''}",
            print_done("name", "deleted"),
            _NAME,
            flag("--force", help="also delete its files"),
            examples=DELETE,
        ),
    ),
)
