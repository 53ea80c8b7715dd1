"""OpenLDAP's slapd with a configuration and entries of the tests' own, on free ports of 127.0.0.1;
ended by its pid.

What Debian's package ``slapd`` would start as a service is not touched. It runs as the user who runs the
tests, below one folder.
"""

import shutil
import socket
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from attrs import define

from tests.live.certificates import Authority
from tests.live.clients import Unavailable, in_ci
from tests.live.processes import Running, clean_environ, done, free_port, running, scratch

try:
    import ldap
    from ldap.controls.simple import ManageDSAITControl
except ImportError:
    ldap = None

BASE: Final = "dc=example,dc=org"
PEOPLE: Final = f"ou=people,{BASE}"
GROUPS: Final = f"ou=groups,{BASE}"
MANAGER: Final = f"cn=manager,{BASE}"
MANAGER_PASSWORD: Final = "manager/Xyzzy-7"
MOST_GIVEN: Final = 20

CONFIGURATION: Final = f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {{folder}}/slapd.pid
argsfile {{folder}}/slapd.args
TLSCACertificateFile {{folder}}/authority.pem
TLSCertificateFile {{folder}}/chain.pem
TLSCertificateKeyFile {{folder}}/key.pem
allow bind_anon_cred bind_anon_dn
sizelimit {MOST_GIVEN}
database mdb
suffix {BASE}
rootdn {MANAGER}
rootpw {MANAGER_PASSWORD}
directory {{folder}}/data
maxsize 67108864
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""

Entry = tuple[str, Mapping[str, Sequence[str]]]


@define
class Slapd:
    """A directory. `certificates` is the PEM of who signed its certificate, which is for 127.0.0.1
    and localhost only.
    """

    program: str
    folder: Path
    port: int
    secure_port: int
    certificates: Path

    @property
    def url(self) -> str:
        """In clear, or with StartTLS."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def secure_url(self) -> str:
        """With TLS from the beginning; on the same port of 127.0.0.2, too."""
        return f"ldaps://127.0.0.1:{self.secure_port}"

    @contextmanager
    def runs(self) -> Iterator[Running]:
        """Let it run, for as long as this lasts."""
        listen = f"{self.url}/ {self.secure_url}/ ldaps://127.0.0.2:{self.secure_port}/"
        command: list[str | Path] = [
            self.program,
            "-d",
            "0",
            "-f",
            self.folder / "slapd.conf",
            "-h",
            listen,
        ]
        with running(
            command, self.folder / "log", cwd=self.folder, environ=clean_environ()
        ) as process:
            until_listens(process, self.secure_port)
            yield process

    def fill(self, entries: Sequence[Entry]) -> None:
        """Have it hold these entries, below `PEOPLE` and `GROUPS`, and no others below `BASE`."""
        with self._asked(MANAGER, MANAGER_PASSWORD) as link:
            link.set_option(
                ldap.OPT_SERVER_CONTROLS, [ManageDSAITControl()]
            )  # a referral is an entry like others
            link.set_option(ldap.OPT_REFERRALS, 0)
            there = link.search_s(BASE, ldap.SCOPE_SUBTREE, attrlist=["1.1"])
            for dn in sorted((dn for dn, _ in there if dn != BASE), key=len, reverse=True):
                link.delete_s(dn)
            folders = [(dn, {"objectClass": ["organizationalUnit"]}) for dn in (PEOPLE, GROUPS)]
            for dn, attributes in [*folders, *entries]:
                link.add_s(
                    dn,
                    [
                        (name, [value.encode() for value in values])
                        for name, values in attributes.items()
                    ],
                )

    def takes(self, dn: str, password: str) -> bool:
        """Whether it says yes to a bind with these."""
        try:
            with self._asked(dn, password):
                return True
        except ldap.INVALID_CREDENTIALS:
            return False

    @contextmanager
    def _asked(self, dn: str, password: str) -> Iterator[Any]:
        link = ldap.initialize(self.url)
        try:
            link.simple_bind_s(dn, password)
            yield link
        finally:
            link.unbind_s()


def person(uid: str, password: str = "", dn: str = "", /, **more: Sequence[str]) -> Entry:
    """An entry for a user."""
    secret = {"userPassword": [password]} if password else {}
    named = {"objectClass": ["inetOrgPerson"], "uid": [uid], "cn": [uid], "sn": ["x"]}
    return dn or dn_of(uid), {**named, **secret, **more}


def dn_of(uid: str) -> str:
    """The name of the user's entry."""
    return f"uid={uid},{PEOPLE}"


def group(name: str, *members: str, dn: str = "") -> Entry:
    """An entry for a group of entries (there is none without any)."""
    return dn or f"cn={name},{GROUPS}", {
        "objectClass": ["groupOfNames"],
        "cn": [name],
        "member": members or [BASE],
    }


def _ldif(entry: Entry) -> str:
    dn, attributes = entry
    lines = [f"dn:: {_base64(dn)}"]
    lines += [
        f"{name}:: {_base64(value)}" for name, values in attributes.items() for value in values
    ]
    return "\n".join(lines) + "\n"


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


@contextmanager
def slapd() -> Iterator[Slapd]:
    """A new one that holds `BASE` alone, and does not run yet.

    It says yes to a bind without a password (RFC 4513, 5.1.2, as some directories do), and gives
    only the manager more than `MOST_GIVEN` entries. Raises `unittest.SkipTest` where it or
    python-ldap is missing, `Unavailable` in CI.
    """
    program = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:/usr/lib/openldap")
    if program is None:
        raise missing("slapd: it is not on this machine (Debian: slapd)")
    if ldap is None:
        raise missing(
            "python-ldap: it is not installed (pip install '.[ldap]'; Debian: libldap2-dev "
            "libsasl2-dev)"
        )
    with scratch("pypid-ldap-") as folder:
        authority = Authority()
        certificates = authority.pem(folder)
        authority.issue(folder / "chain.pem", folder / "key.pem")
        (folder / "data").mkdir()
        (folder / "slapd.conf").write_text(CONFIGURATION.format(folder=folder))
        root = {"objectClass": ["dcObject", "organization"], "dc": ["example"], "o": ["x"]}
        (folder / "base.ldif").write_text(_ldif((BASE, root)))
        done([program, "-T", "add", "-f", folder / "slapd.conf", "-l", folder / "base.ldif"])
        yield Slapd(program, folder, free_port(), free_port(), certificates)


def missing(reason: str) -> Exception:
    """What to raise where something is not on this machine."""
    return Unavailable(reason) if in_ci() else SkipTest(reason)


def until_listens(process: Running, port: int, within: float = 20.0) -> None:
    """Wait until the port accepts connections."""
    deadline = time.monotonic() + within
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"slapd does not listen:\n{process.output()}") from None
        time.sleep(0.02)
