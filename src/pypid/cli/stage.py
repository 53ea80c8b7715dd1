"""The `stage` command, for releases that are tested first and then published together."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group, config_words
from pypid.cli.output import (
    counted,
    format_time,
    print_answer,
    print_table,
    print_warnings,
    printable,
    with_token,
)
from pypid.cli.request import send_request

STAGES = """\
  pypid stage create --user alice
  pypid stage list
  pypid stage show stage-k3x9a7bq
  pypid stage publish stage-k3x9a7bq
  pypid stage delete stage-k3x9a7bq

A stage is a temporary index. It shows the files that are uploaded to it, and all projects of its
base. `publish` publishes these files in the base, all at the same moment, or none.
"""
CREATE = """\
  pypid stage create --user alice
  pypid stage create --user ci --base team-a --expires 12h --name release-42
  pypid stage create --user alice --read group:testers --write bob

The stage belongs to the user, who must be able to publish in the base. The command prints the
URLs of the stage, and commands for upload tools and installers. A stage is visible only after a
login: write a token of the user into the URL, as printed.
"""
LIST = """\
  pypid stage list
"""
SHOW = """\
  pypid stage show stage-k3x9a7bq
"""
PUBLISH = """\
  pypid stage publish stage-k3x9a7bq

If the base cannot take one of the files, nothing is published, and the stage stays open. The
command can be repeated; files that are published stay published.
"""
DELETE = """\
  pypid stage delete stage-k3x9a7bq

Files that were published from the stage stay in its base.
"""


def add(commands: Any) -> None:
    """Declare the `stage` command."""
    verbs = add_group(commands, "stage", "publish several releases together", examples=STAGES)
    about = "create a stage and print its URLs"
    creating = add_command(verbs, "create", _create, about, config=True, examples=CREATE)
    creating.add_argument(
        "--user",
        metavar="USER",
        default="",
        help="the user to whom it belongs (default: administrators alone use it)",
    )
    creating.add_argument(
        "--base",
        metavar="INDEX",
        default="default",
        help="the index into which it is published (default: the one at the root)",
    )
    creating.add_argument(
        "--expires", metavar="TIME", default="", help="how long it exists: 12h, 30d (default: 7d)"
    )
    creating.add_argument(
        "--name", metavar="NAME", default="", help="its name after stage- (default: random)"
    )
    for right, what in (("read", "see it and install from it"), ("write", "upload and publish")):
        creating.add_argument(
            f"--{right}",
            metavar="USERS",
            default="",
            help=f"who else may {what}, such as 'bob group:testers'",
        )
    add_command(verbs, "list", _list, "list the stages", config=True, examples=LIST)
    about = "show the URLs and the files of a stage"
    _add_name(add_command(verbs, "show", _show, about, config=True, examples=SHOW))
    about = "publish all files of a stage in its base, or none"
    _add_name(add_command(verbs, "publish", _publish, about, config=True, examples=PUBLISH))
    about = "delete a stage and its files"
    _add_name(add_command(verbs, "delete", _delete, about, config=True, examples=DELETE))


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="its name, with or without stage-")


def _create(options: argparse.Namespace) -> None:
    document = {
        "owner": options.user,
        "base": options.base,
        "expires": options.expires,
        "name": options.name,
        "read": options.read,
        "write": options.write,
    }
    answer = send_request(options, "POST", "/api/stages", document)
    print_answer(options, answer, lambda answer: _print_created(answer, config_words(options)))


def _print_created(answer: Mapping[str, Any], config: str) -> None:
    print(f"{answer['name']}: created, until {format_time(answer['expires'])} UTC")
    _print_urls(answer, config)
    print_warnings(answer)


def _print_urls(answer: Mapping[str, Any], config: str = "") -> None:
    """Print the URLs, and commands that use them. `config`: the option of commands that send
    requests to this pypid.
    """
    print(f"index:   {printable(answer['index'])}")
    print(f"upload:  {printable(answer['upload'])}")
    if answer["state"] != "open":
        return
    has_user = "/" not in answer["owner"]  # such as operator/root, which has no account
    user = shlex.quote(printable(answer["owner"])) if has_user else "USER"
    token = f"pypid token create stage --user {user} --can read --can publish --quiet{config}"
    upload = printable(answer["upload"])
    url = with_token(printable(answer["index"]), "$UV_PUBLISH_TOKEN")
    which = "" if has_user else " (USER: an administrator, or a user in --write)"
    print(f"\nCreate a token{which}:")
    print(f"  export UV_PUBLISH_TOKEN=$({token})")
    print("  export TWINE_USERNAME=__token__ TWINE_PASSWORD=$UV_PUBLISH_TOKEN")
    print("\nUpload files with one of these commands:")
    print(f"  twine upload --repository-url {upload} dist/*")
    print(f"  uv publish --publish-url {upload} dist/*")
    print("\nTest them:")
    print(f"  pip install --index-url {url} PROJECT")
    print(f"  uv pip install --default-index {url} PROJECT")
    print(f"\nThen publish all of them: pypid stage publish {printable(answer['name'])}{config}")


def _list(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", "/api/stages"), _print_stages)


def _print_stages(answer: Mapping[str, Any]) -> None:
    rows = [
        (each["name"], each["base"], each["owner"], each["state"], format_time(each["expires"]))
        for each in answer["stages"]
    ]
    print_table(("NAME", "BASE", "OWNER", "STATE", "EXPIRES (UTC)"), rows)
    print(counted(len(rows), "stage"))


def _show(options: argparse.Namespace) -> None:
    answer = send_request(options, "GET", _path_of(options))
    print_answer(options, answer, lambda answer: _print_stage(answer, config_words(options)))


def _print_stage(answer: Mapping[str, Any], config: str) -> None:
    print(f"state:   {answer['state']}")
    print(f"base:    {printable(answer['base'])}")
    print(f"owner:   {printable(answer['owner'])}")
    print(f"expires: {format_time(answer['expires'])} UTC")
    _print_urls(answer, config)
    print()
    for line in _files(answer):
        print(line)


def _files(answer: Mapping[str, Any]) -> Iterator[str]:
    for project, filenames in answer["files"].items():
        yield f"{printable(project)}: {' '.join(map(printable, filenames))}"
    count = sum(map(len, answer["files"].values()))
    yield f"{counted(count, 'file')} of {counted(len(answer['files']), 'project')}"


def _publish(options: argparse.Namespace) -> None:
    answer = send_request(options, "POST", f"{_path_of(options)}/publish")
    print_answer(options, answer, _print_published)


def _print_published(answer: Mapping[str, Any]) -> None:
    for line in _files(answer):
        print(line)
    print(f"{printable(answer['name'])}: published in {printable(answer['base'])}")
    if answer["left"]:
        print(
            f"Uploaded meanwhile, and not published: {' '.join(map(printable, answer['left']))}. "
            "Publish the stage again."
        )


def _delete(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", _path_of(options))
    print_answer(options, answer, lambda answer: print(f"{printable(answer['name'])}: deleted"))


def _path_of(options: argparse.Namespace) -> str:
    name = f"stage-{options.name.removeprefix('stage-')}"
    return f"/api/stages/{quote(name, safe='')}"
