"""Commands that configure clients for this index, to copy from the home page. None contains a
password.

The options are pip's ``--index-url`` and ``--trusted-host``, uv's ``--default-index`` (docs:
"Package indexes"), poetry's ``source add`` and ``config repositories``, pdm's ``pypi.url`` and
``--repository``, twine's ``--repository-url``.
"""

from __future__ import annotations

from urllib.parse import quote

from attrs import frozen

from pypid.core.presentation.client_files import TOKEN, IndexAddress, is_safe

PROJECT = "PROJECT"
"""Placeholder for the project's name."""


@frozen
class Snippet:
    """Commands for one client."""

    client: str
    text: str


def to_install(
    place: IndexAddress, user: str | None = None, project: str = PROJECT
) -> tuple[Snippet, ...]:
    """Return the commands to install a project from here. `user`: the user to log in as, if the
    index requires a login.
    """
    index = _url(place, user if place.login else None)
    trust = "" if is_safe(place.base) else f" --trusted-host {place.host}"
    insecure = "" if is_safe(place.base) else f" --allow-insecure-host {place.host}"
    login = (f"poetry config http-basic.{place.name} {user or TOKEN}\n") if place.login else ""
    return (
        Snippet("pip", f"pip install --index-url {index}{trust} {project}"),
        Snippet("uv", f"uv pip install --default-index {index}{insecure} {project}"),
        Snippet(
            "poetry",
            (
                f"poetry source add --priority=primary {place.name} {place.base}/simple/\n"
                f"{login}poetry add {project}"
            ),
        ),
        Snippet("pdm", f"pdm config pypi.url {index}\npdm add {project}"),
    )


def to_publish(place: IndexAddress, user: str | None = None) -> tuple[Snippet, ...]:
    """Return the commands to publish here. The clients ask for the password of the user; without a
    `user`, for a token.
    """
    who = user or TOKEN
    url = f"{place.base}/legacy/"
    poetry = (
        f"poetry config repositories.{place.name} {url}\n"
        f"poetry config http-basic.{place.name} {who}\n"
        f"poetry publish --build -r {place.name}"
    )
    return (
        Snippet("twine", f"twine upload --repository-url {url} --username {who} dist/*"),
        Snippet("uv", f"uv publish --publish-url {url} --username {who} dist/*"),
        Snippet("poetry", poetry),
        Snippet("pdm", f"pdm publish --repository {url} --username {who}"),
    )


def _url(place: IndexAddress, user: str | None) -> str:
    """Return the index URL, with the user's name if there is one: clients then ask for the password
    or look it up (keyring, netrc).
    """
    scheme, _, rest = place.base.partition("://")
    return f"{scheme}://{quote(user, safe='')}@{rest}/simple/" if user else f"{place.base}/simple/"
