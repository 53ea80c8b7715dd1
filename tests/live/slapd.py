"""OpenLDAP's slapd with a configuration and entries of the tests' own, on free ports of 127.0.0.1; ended by its pid.

What Debian's package ``slapd`` would start as a service is not touched. It runs as whoever runs the tests, below one folder.
"""

# trial and python-ldap are not annotated
# mypy: allow-untyped-calls

import shutil
import socket
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest import SkipTest

from attrs import define, field

from tests.live.certificates import Authority
from tests.live.clients import Unavailable, in_ci
from tests.live.processes import Running, clean_environ, done, free_port, running, scratch, with_us

BASE: Final = "dc=example,dc=org"
MANAGER: Final = f"cn=manager,{BASE}"
MANAGER_PASSWORD: Final = "manager/Xyzzy-7"
MODULES: Final = Path("/usr/lib/ldap")
SCHEMAS: Final = Path("/etc/ldap/schema")

CONFIGURATION: Final = """
{schemas}
modulepath {modules}
moduleload back_mdb
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
TLSCACertificateFile {folder}/authority.pem
TLSCertificateFile {folder}/chain.pem
TLSCertificateKeyFile {folder}/key.pem
{more}
database mdb
suffix {base}
rootdn {manager}
rootpw {password}
directory {folder}/data
maxsize 67108864
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""

Entry = tuple[str, Mapping[str, Sequence[str]]]


@define
class Slapd:
    """A directory that runs. `certificates` is the PEM of who signed its certificate."""

    folder: Path
    port: int
    secure_port: int
    certificates: Path
    running: Running | None = field(default=None)

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def secure_url(self) -> str:
        return f"ldaps://127.0.0.1:{self.secure_port}"

    def fill(self, entries: Sequence[Entry]) -> None:
        """Have it hold these entries and no others, below `BASE`."""
        password = ["-x", "-H", self.url, "-D", MANAGER, "-w", MANAGER_PASSWORD]
        ldif = self.folder / "entries.ldif"
        ldif.write_text("\n".join(_ldif(entry) for entry in entries))
        found = done(["ldapsearch", *password, "-LLL", "-o", "ldif-wrap=no", "-b", BASE, "-s", "one", "1.1"])
        for line in found.splitlines():
            if line.startswith("dn: "):
                done(["ldapdelete", *password, "-r", line.removeprefix("dn: ")])
        done(["ldapadd", *password, "-f", ldif])


def organization() -> Sequence[Entry]:
    """What everything else is below."""
    return (
        (f"ou=people,{BASE}", {"objectClass": ["organizationalUnit"]}),
        (f"ou=groups,{BASE}", {"objectClass": ["organizationalUnit"]}),
    )


def _ldif(entry: Entry) -> str:
    dn, attributes = entry
    lines = [f"dn:: {_base64(dn)}"]
    lines += [f"{name}:: {_base64(value)}" for name, values in attributes.items() for value in values]
    return "\n".join(lines) + "\n"


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


@contextmanager
def slapd(more: str = "") -> Iterator[Slapd]:
    """A new one that holds `BASE` alone; `more` stands in its configuration.

    Raises `unittest.SkipTest` where it, its clients or python-ldap is missing, `Unavailable` in CI.
    """
    program = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:/usr/lib/openldap")
    needed(program is not None, "slapd: it is not on this machine (Debian: slapd)")
    needed(shutil.which("ldapadd") is not None, "slapd: no ldapadd on this machine (Debian: ldap-utils)")
    needs_python_ldap()
    assert program is not None
    with scratch("pypid-ldap-") as folder:
        authority = Authority()
        certificates = authority.pem(folder)
        authority.issue(folder / "chain.pem", folder / "key.pem")
        (folder / "data").mkdir()
        schemas = "\n".join(f"include {SCHEMAS}/{name}.schema" for name in ("core", "cosine", "inetorgperson", "nis"))
        places = {"schemas": schemas, "modules": MODULES, "folder": folder, "base": BASE, "manager": MANAGER}
        (folder / "slapd.conf").write_text(CONFIGURATION.format(**places, password=MANAGER_PASSWORD, more=more))
        (folder / "base.ldif").write_text(
            _ldif((BASE, {"objectClass": ["dcObject", "organization"], "dc": ["example"], "o": ["x"]}))
        )
        done([program, "-T", "add", "-f", folder / "slapd.conf", "-l", folder / "base.ldif"])
        server = Slapd(folder, free_port(), free_port(), certificates)
        with started(program, server):
            yield server


@contextmanager
def started(program: str, server: Slapd) -> Iterator[None]:
    """Let it run."""
    listen = f"{server.url}/ {server.secure_url}/"
    command = [*with_us(), program, "-d", "0", "-f", server.folder / "slapd.conf", "-h", listen]
    with running(command, server.folder / "log", cwd=server.folder, environ=clean_environ()) as process:
        server.running = process
        until_listens(process, server.secure_port)
        yield


def until_listens(process: Running, port: int, within: float = 20.0) -> None:
    """Wait until somebody accepts connections."""
    deadline = time.monotonic() + within
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"slapd does not listen:\n{process.output()}") from None
        time.sleep(0.02)


def needs_python_ldap() -> None:
    """Raise as `slapd` where python-ldap is missing."""
    try:
        import ldap  # noqa: F401
    except ImportError:
        needed(False, "python-ldap: it is not installed (pip install '.[ldap]'; Debian: libldap2-dev libsasl2-dev)")


def needed(there: bool, reason: str) -> None:
    """Raise `unittest.SkipTest`, or in CI `Unavailable`, unless it is there."""
    if not there:
        raise Unavailable(reason) if in_ci() else SkipTest(reason)
