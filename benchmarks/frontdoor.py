"""Answers that pypid gave before, against nginx with the same bytes as files: each pinned to one
core, in turns, with a log.

``python benchmarks/frontdoor.py [--seconds 3] [--runs 3] [--projects 10000] [--only WORDS]``

The last lines are without the fast path: what Klein's path makes of a page that is kept, and of
one that is not.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _fabricate import fabricate
from _wheels import build, upload
from attrs import field, frozen
from pages import HTML, JSON, expected

TEN, THOUSAND = "/simple/ten/", "/simple/thousand/"


@frozen
class Case:
    """One line: what is asked for, of nginx and of us, by so many connections."""

    title: str
    path: str
    accept: str = HTML
    goal: float | None = None
    connections: int = 16
    tls: bool = False
    login: bool = False
    revalidates: bool = False
    server: str = "pypid"
    against: str = field(default="nginx", kw_only=True)


CASES = (
    Case("10 files, HTML", TEN, goal=1.0),
    Case("10 files, JSON", TEN, JSON, 1.0),
    Case("10 files, JSON, 64 connections", TEN, JSON, 0.95, 64),
    Case("10 files, JSON, 256 connections", TEN, JSON, 0.9, 256),
    Case("10 files, 304", TEN, JSON, 0.9, revalidates=True),
    Case("10 files, with a password", TEN, JSON, login=True),
    Case("... against the same without", TEN, JSON, 0.9, login=True, against="pypid"),
    Case("1,000 files, HTML", THOUSAND, goal=1.0),
    Case("1,000 files, JSON", THOUSAND, JSON, 1.0),
    Case("the list of all projects", "/simple/", JSON, 1.2),
    Case("a small file", "/packages/ten/ten-1.0-py3-none-any.whl", "*/*", 0.9),
    Case("10 files, TLS", TEN, JSON, 0.47, tls=True),
    Case(
        "... against Twisted's TLS, which parses nothing",
        TEN,
        JSON,
        0.95,
        tls=True,
        against="nothing",
    ),
    Case("10 files, no fast path", TEN, JSON, 0.08, server="plain"),
)


class Server(rig.Server):
    """A pypid that listens with TLS, too."""

    def __init__(self, folder: Path, certificate: Path, *, front_door: bool) -> None:
        super().__init__(folder)
        self.secure_port = rig.free_port()
        pair = f"privateKey={certificate}:certKey={certificate}"
        door = "" if front_door else "fast_path = no\n"
        listen = f"ssl:{self.secure_port}:interface=127.0.0.1:{pair}\n{door}"
        self.config.write_text(
            self.config.read_text().replace(
                "interface=127.0.0.1\n", f"interface=127.0.0.1 {listen}", 1
            )
        )


class Nginx(rig.Nginx):
    """An nginx that speaks TLS, too."""

    def __init__(self, folder: Path, root: Path, certificate: Path, types: str) -> None:
        super().__init__(folder, root, types)
        self.secure_port = rig.free_port()
        config = folder / "nginx" / "nginx.conf"
        secure = (
            f"listen 127.0.0.1:{self.secure_port} ssl; ssl_certificate {certificate}; "
            f"ssl_certificate_key {certificate};"
        )
        config.write_text(config.read_text().replace("server { ", f"server {{ {secure} "))


class Nothing:
    """Twisted's TLS and a protocol that parses nothing, pinned to pypid's core: it gives `answer`
    to whatever comes.
    """

    def __init__(self, folder: Path, certificate: Path, answer: bytes) -> None:
        self.secure_port = rig.free_port()
        self._answer, self._log = folder / "answer", folder / "nothing.log"
        self._answer.write_bytes(answer)
        self._certificate = certificate

    @contextmanager
    def running(self) -> Iterator[Nothing]:
        """Started until it listens, stopped at the end."""
        script = Path(__file__).with_name("_nothing.py")
        command = [
            *rig.PINNED,
            sys.executable,
            str(script),
            str(self.secure_port),
            str(self._certificate),
            str(self._answer),
        ]
        with self._log.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            rig.wait_for(self.secure_port, self._log)
            yield self
        finally:
            process.terminate()
            process.wait(10)


def whole(server: Server, path: str, accept: str) -> bytes:
    """An answer as it comes, with its head."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n".encode()
        )
        answer = b""
        while (
            found := re.search(rb"(?i)\r\ncontent-length: *(\d+).*?\r\n\r\n", answer, re.DOTALL)
        ) is None or (len(answer) < found.end() + int(found[1])):
            answer += connection.recv(1 << 20)
        return answer


def requests_a_second(
    case: Case, port: int, path: str, headers: dict[str, str], seconds: int
) -> float:
    """What wrk counts, on the client's core."""
    command = [
        "taskset",
        "-c",
        str(rig.CLIENT_CORE),
        "wrk",
        "-t1",
        f"-c{case.connections}",
        f"-d{seconds}s",
    ]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    url = f"{'https' if case.tls else 'http'}://127.0.0.1:{port}{path}"
    done = subprocess.run([*command, url], check=True, capture_output=True, text=True)
    found = re.search(r"Requests/sec: *([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(done.stdout)
    return float(found[1])


def prepare(folder: Path, server: Server, projects: int) -> None:
    """Many projects, one of ten files, one of a thousand."""
    with server.running():
        pass
    if projects:
        fabricate(folder, projects)
    with server.running():
        for name, files in (("ten", 10), ("thousand", 1000)):
            for count in range(files):
                path = (
                    folder / f"{name}-1.{count}-py3-none-any.whl"
                    if count
                    else folder / f"{name}-1.0-py3-none-any.whl"
                )
                build(path, name, path.name.split("-")[1], 0)
                upload(server, path, sha256(path.read_bytes()).hexdigest())
                path.unlink()


def once(case: Case, ours: Server, port: int, path: str, seconds: int, *, login: bool) -> float:
    """One figure; what is asked twice before is known."""
    headers = {"Accept": case.accept, **({"Authorization": rig.LOGIN} if login else {})}
    plain = ours.port if port == ours.secure_port else port
    if not case.tls or port == ours.secure_port:
        answer = expected(plain, path, headers, 200)
        expected(plain, path, headers, 200)
        if case.revalidates:
            headers["If-None-Match"] = answer.headers["ETag"]
            expected(plain, path, headers, 304)
    return requests_a_second(case, port, path, headers, seconds)


def measured(
    case: Case,
    servers: dict[str, Server],
    nginx: Nginx,
    names: dict[tuple[str, str], str],
    nothing: Nothing | None,
    options: argparse.Namespace,
) -> rig.Comparison:
    """Return the rates, in requests a second."""
    ours: list[float] = []
    theirs: list[float] = []
    server = servers[case.server]
    for _ in range(options.runs):
        if case.against == "nginx":
            port = nginx.secure_port if case.tls else nginx.port
            theirs.append(
                once(
                    case, server, port, names[case.path, case.accept], options.seconds, login=False
                )
            )
        elif nothing is not None and case.against == "nothing":
            headers = {"Accept": case.accept}
            theirs.append(
                requests_a_second(case, nothing.secure_port, case.path, headers, options.seconds)
            )
        else:
            theirs.append(once(case, server, server.port, case.path, options.seconds, login=False))
        port = server.secure_port if case.tls else server.port
        ours.append(once(case, server, port, case.path, options.seconds, login=case.login))
    return rig.compare(ours, theirs)


def static_files(server: Server, folder: Path, cases: Iterator[Case]) -> dict[tuple[str, str], str]:
    """What pypid answers, as files for nginx; their paths there."""
    names = {}
    for number, case in enumerate(cases):
        suffix = {HTML: "html", JSON: "json"}.get(case.accept, "whl")
        (folder / f"{number}.{suffix}").write_bytes(server.get(case.path, case.accept))
        names[case.path, case.accept] = f"/{number}.{suffix}"
    return names


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--projects", type=int, default=10_000)
    arguments.add_argument("--only", default="", help="words of the titles that are wanted")
    options = arguments.parse_args()
    missing = [name for name in ("wrk", "openssl") if shutil.which(name) is None]
    missing += [] if rig.Nginx.path() else ["nginx"]
    if missing:
        print(f"skipped: {' and '.join(missing)} not installed")
        return
    rig.pin_client()
    cases = [case for case in CASES if options.only in case.title]
    rows: list[tuple[str, str, str]] = []
    figures: dict[str, object] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        certificate = folder / "certificate.pem"
        key = (
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            str(certificate),
            "-subj",
            "/CN=localhost",
        )
        made = subprocess.run(["openssl", "req", "-x509", *key], check=True, capture_output=True)
        certificate.write_bytes(certificate.read_bytes() + made.stdout)
        servers = {"pypid": Server(folder, certificate, front_door=True)}
        prepare(folder, servers["pypid"], options.projects)
        stack.enter_context(servers["pypid"].running())
        if any(case.server == "plain" for case in cases):
            other = folder / "plain"
            other.mkdir()
            servers["plain"] = Server(other, certificate, front_door=False)
            prepare(other, servers["plain"], 0)
            stack.enter_context(servers["plain"].running())
        static = folder / "static"
        static.mkdir()
        names = static_files(servers["pypid"], static, iter(cases))
        nginx = stack.enter_context(
            Nginx(folder, static, certificate, f"{HTML} html; {JSON} json;").running()
        )
        nothing = None
        if any(case.against == "nothing" for case in cases):
            answer = whole(servers["pypid"], TEN, JSON)
            nothing = stack.enter_context(Nothing(folder, certificate, answer).running())
        for case in cases:
            turn = measured(case, servers, nginx, names, nothing, options)
            goal = "" if case.goal is None else f">= {case.goal}"
            rows.append(
                (
                    case.title,
                    f"{turn.ratio:.2f} x {case.against} ({turn.ours:,.0f} : {turn.theirs:,.0f} a second)",
                    goal,
                )
            )
            figures[case.title] = {
                "ratio": turn.ratio,
                "pypid": turn.ours,
                case.against: turn.theirs,
            }
            print(rows[-1], flush=True)
    rig.report("The fast path against nginx, one core each", rows, figures)


if __name__ == "__main__":
    main()
