"""Client configuration for this index: pip.conf, .pypirc and uv.toml, ready to be saved.

The formats are pip's "Configuration" (``[global] index-url``, ``cert``, ``trusted-host``), the
``.pypirc`` specification (packaging.python.org), and uv's "Package indexes" (``[[index]]``). No
file contains a password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import quote, urlsplit

from attrs import frozen

NAME = "pypid"
"""The name of the default index in these files, and of its certificate."""
CA = "ca.pem"
TOKEN = "__token__"


@frozen
class IndexAddress:
    """The address of an index for clients. `base` is its absolute URL without a last slash; `ca`:
    it has a certificate to be trusted (``/config/ca.pem``); `login`: reading requires a login;
    `index`: the name of the index, with which `base` ends; "" for the default index.
    """

    base: str
    ca: bool = False
    login: bool = False
    index: str = ""

    @property
    def site(self) -> str:
        """The absolute URL of the site, where accounts are."""
        return self.base.removesuffix(f"/{self.index}") if self.index else self.base

    @property
    def name(self) -> str:
        """The name of the index in configuration files."""
        return self.index or NAME

    @property
    def host(self) -> str:
        """The host, with its port if the URL has one."""
        return urlsplit(self.base).netloc


def pip_conf(place: IndexAddress) -> str:
    """Return the configuration of pip."""
    lines = [
        "# pip reads this as ~/.config/pip/pip.conf (macOS: ~/Library/Application "
        "Support/pip/pip.conf,",
        "# Windows: %APPDATA%\\pip\\pip.ini, all users of the machine: /etc/pip.conf).",
        "[global]",
        f"index-url = {place.base}/simple/",
    ]
    if place.ca:
        lines += [
            f"# Save {place.site}/config/{CA} and name the file:",
            f"# cert = /etc/ssl/certs/{NAME}.pem",
        ]
    if not is_safe(place.base):
        lines += [
            "# pip refuses hosts without TLS unless they are trusted:",
            f"trusted-host = {place.host}",
        ]
    if place.login:
        lines += [
            "# This index requires a login. pip reads it from ~/.netrc (chmod 600):",
            f"#   machine {urlsplit(place.base).hostname} login {TOKEN} password pypi-...",
        ]
    return _text(lines)


def pypirc(place: IndexAddress) -> str:
    """Return the configuration of twine, flit, hatch and setuptools."""
    lines = [
        "# twine, flit and hatch read this as ~/.pypirc; chmod 600 it once there is a "
        "password in it.",
        "[distutils]",
        f"index-servers = {place.name}",
        "",
        f"[{place.name}]",
        f"repository = {place.base}/legacy/",
        f"username = {TOKEN}",
        f"# Create a token to publish with at {place.site}/account/, or on the server:",
        "#   pypid token create laptop --user NAME --can publish",
        "# Without this line twine asks for it:",
        "# password = pypi-...",
    ]
    if place.ca:
        lines += [
            f"# Save {place.site}/config/{CA} and name the file:",
            f"# ca_cert = /etc/ssl/certs/{NAME}.pem",
        ]
    return _text(lines)


def uv_toml(place: IndexAddress) -> str:
    """Return the configuration of uv."""
    lines = [
        "# uv reads this as ~/.config/uv/uv.toml (Windows: %APPDATA%\\uv\\uv.toml), or as "
        "uv.toml beside a project's",
        "# pyproject.toml; in pyproject.toml itself the table is called [[tool.uv.index]].",
        "[[index]]",
        f'name = "{place.name}"',
        f'url = "{place.base}/simple/"',
        f'publish-url = "{place.base}/legacy/"',
        "default = true",
    ]
    if place.ca:
        lines += [
            f"# Save {place.site}/config/{CA}, and: export SSL_CERT_FILE=/etc/ssl/certs/{NAME}.pem"
        ]
    if place.login:
        variable = f"UV_INDEX_{place.name.upper().replace('-', '_')}"
        lines += [
            f"# To log in: export {variable}_USERNAME={TOKEN} {variable}_PASSWORD=pypi-..., or "
            f"~/.netrc."
        ]
    return _text(lines)


FILES: Mapping[str, Callable[[IndexAddress], str]] = MappingProxyType(
    {"pip.conf": pip_conf, ".pypirc": pypirc, "uv.toml": uv_toml}
)
"""The files by their names, which are also those of ``/config/<name>``."""


def is_safe(base: str) -> bool:
    """Return whether pip accepts the URL without ``trusted-host``: TLS, or this machine."""
    url = urlsplit(base)
    host = url.hostname or ""
    if url.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


# Commands that configure clients for this index, to copy from the home page. None contains a
# password.
#
# The options are pip's ``--index-url`` and ``--trusted-host``, uv's ``--default-index`` (docs:
# "Package indexes"), poetry's ``source add`` and ``config repositories``, pdm's ``pypi.url`` and
# ``--repository``, twine's ``--repository-url``.

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
    """Return the commands to install a project from here; `user` logs in if that is required."""
    index = _url(place, user if place.login else None)
    trust = "" if is_safe(place.base) else f" --trusted-host {place.host}"
    insecure = "" if is_safe(place.base) else f" --allow-insecure-host {place.host}"
    login = (f"poetry config http-basic.{place.name} {user or TOKEN}\n") if place.login else ""
    return (
        Snippet("pip", f"pip install --index-url {index}{trust} {project}"),
        Snippet("uv", f"uv pip install --default-index {index}{insecure} {project}"),
        Snippet(
            "poetry",
            f"poetry source add --priority=primary {place.name} {place.base}/simple/\n"
            f"{login}poetry add {project}",
        ),
        Snippet("pdm", f"pdm config pypi.url {index}\npdm add {project}"),
    )


def to_publish(place: IndexAddress, user: str | None = None) -> tuple[Snippet, ...]:
    """Return the commands to publish; clients ask for the password of `user`, or for a token."""
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
