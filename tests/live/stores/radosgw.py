"""Ceph's radosgw: the gateway, one monitor and one OSD that keeps all in memory. Nothing of it is
left on the machine.

What Debian's packages (``radosgw``, ``ceph-mon``, ``ceph-osd``) would start as services is not
touched: each process gets a configuration of its own, writes below one folder, and may run as
anybody.
"""

import json
import shutil
import signal
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from unittest import SkipTest
from uuid import uuid4

from tests.live.certificates import Authority
from tests.live.clients import Unavailable, in_ci
from tests.live.processes import Running, done, free_port, running, scratch
from tests.live.stores.asking import Store
from tests.live.stores.signing import Keys

PROGRAMS: Final = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")
KEYS: Final = Keys("AKIAPYPIDTESTS", "rgw/K7MDENG+bPxRfiCYEXAMPLEKEY")
CONFIGURATION: Final = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms mon client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}
crash dir = {folder}/crash
keyring = {folder}/keyring
admin socket =
pid file =
log file =
mon cluster log file =
log to stderr = true
debug rocksdb = 0
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pgp num = 2
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 1
# it gathers changes for a second before it tells the others: here tests should not wait for it
paxos propose interval = 0.01
paxos min wait = 0.001
[client]
rgw frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{secure_port} {certificate}
rgw data = {folder}/rgw
rgw run sync thread = false
rgw thread pool size = 64
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = key-1={kms_key}
rgw s3 auth use sts = true
rgw s3 auth order = local, sts
rgw sts key = {sts_key}
"""


@contextmanager
def radosgw() -> Iterator[Store]:
    """A new one, empty; ended by its pids. Raises `unittest.SkipTest` where a program is missing,
    `Unavailable` in CI.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        reason = (
            f"radosgw: no {' '.join(missing)} on this machine (Debian: radosgw ceph-mon ceph-osd)"
        )
        raise Unavailable(reason) if in_ci() else SkipTest(reason)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("pypid-rgw-"))
        authority = Authority()
        authority.issue(folder / "chain.pem", folder / "key.pem")
        places = {"mon_port": free_port(), "port": free_port(), "secure_port": free_port()}
        made = {"fsid": uuid4(), "kms_key": b64encode(b"k" * 32).decode(), "sts_key": "s" * 16}
        certificate = f"ssl_certificate={folder / 'chain.pem'} ssl_private_key={folder / 'key.pem'}"
        (folder / "conf").write_text(
            CONFIGURATION.format(folder=folder, certificate=certificate, **places, **made)
        )
        cluster(stack, folder, str(made["fsid"]), places["mon_port"])
        prepare(folder)
        # radosgw insists on cephx and on encryption towards the monitor unless it is told on its
        # command line
        free = ["--auth-client-required=none", "--ms-mon-client-mode=crc"]
        gateway = daemon(stack, folder, "radosgw", "-n", "client.rgw", *free)
        store = Store(
            name="radosgw",
            endpoint=f"http://127.0.0.1:{places['port']}",
            region="us-east-1",
            keys=KEYS,
            running=gateway,
            secure_endpoint=f"https://127.0.0.1:{places['secure_port']}",
            authority=authority.pem(folder),
        )
        store.until_answers()
        everything = {"Effect": "Allow", "Action": ["sts:*"], "Resource": ["*"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        store.act(
            "PutUserPolicy", "2010-05-08", UserName="pypid", PolicyName="all", PolicyDocument=policy
        )
        yield store


def cluster(stack: ExitStack, folder: Path, fsid: str, port: int) -> None:
    """A monitor, and one OSD, which need not be up yet."""
    (folder / "mon").mkdir()
    (folder / "osd").mkdir()
    once(
        folder,
        "monmaptool",
        "--create",
        "--fsid",
        fsid,
        "--addv",
        "a",
        f"[v2:127.0.0.1:{port}]",
        folder / "monmap",
    )
    once(folder, "ceph-mon", "-i", "a", "--mkfs", "--monmap", folder / "monmap")
    daemon(stack, folder, "ceph-mon", "-i", "a")
    once(folder, "ceph", "--connect-timeout", "30", "osd", "create")
    once(folder, "ceph-osd", "-i", "0", "--mkfs")
    daemon(stack, folder, "ceph-osd", "-i", "0")


def prepare(folder: Path) -> None:
    """The user, and storage classes beside STANDARD."""
    names = [
        "--uid=pypid",
        "--display-name=pypid",
        f"--access-key={KEYS.access}",
        f"--secret={KEYS.secret}",
    ]
    once(
        folder, "radosgw-admin", "user", "create", *names, "--max-buckets=0", "--caps=user-policy=*"
    )
    for name in ("STANDARD_IA", "GLACIER_IR"):
        where = [
            "--rgw-zonegroup=default",
            "--placement-id=default-placement",
            f"--storage-class={name}",
        ]
        once(folder, "radosgw-admin", "zonegroup", "placement", "add", *where)
        where[0], pool = "--rgw-zone=default", "--data-pool=default.rgw.buckets.data"
        once(folder, "radosgw-admin", "zone", "placement", "add", *where, pool)


def once(folder: Path, *command: str | Path) -> None:
    """Run it to its end; raises `AssertionError` with what it said unless that is a good one."""
    done([command[0], "--conf", folder / "conf", *command[1:]], cwd=folder, timeout=60)


def daemon(stack: ExitStack, folder: Path, *command: str) -> Running:
    """Run it in the foreground; its end is sudden, for there is nothing to keep."""
    log = folder / f"{command[0]}.log"
    line: Sequence[str | Path] = [command[0], "-f", "--conf", folder / "conf", *command[1:]]
    process = stack.enter_context(running(line, log, cwd=folder))
    stack.callback(process.stop, signal.SIGKILL)
    return process
