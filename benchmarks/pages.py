"""Warm project pages a second, against nginx with the same bytes as files: both pinned to one core,
in turns.

``python benchmarks/pages.py [--files 100] [--seconds 3] [--runs 3]``

No goal yet: this is what later work on finished pages is measured against.
"""

from __future__ import annotations

import argparse
import http.client
import re
import shutil
import subprocess
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _wheels import build, upload

CONNECTIONS = 16
HTML, JSON = "text/html", "application/vnd.pypi.simple.v1+json"


def requests_a_second(
    port: int, path: str, headers: dict[str, str], seconds: int, status: int
) -> float:
    """What wrk counts, on the client's core. Ends the benchmark where an answer is
    not of `status`.
    """
    expected(port, path, headers, status)
    command = [
        "taskset",
        "-c",
        str(rig.CLIENT_CORE),
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
    ]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True
    )
    found = re.search(r"Requests/sec: *([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(done.stdout)
    return float(found[1])


def expected(
    port: int, path: str, headers: dict[str, str], status: int
) -> http.client.HTTPResponse:
    """One answer, of which the status is right."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != status:
        raise SystemExit(f"{path} on port {port}: {answer.status}, not {status}")
    return answer


def publish(server: rig.Server, folder: Path, files: int) -> None:
    """A project with so many files."""
    for count in range(files):
        path = folder / f"example-1.{count}.0-py3-none-any.whl"
        build(path, "example", f"1.{count}.0", 0)
        upload(server, path, sha256(path.read_bytes()).hexdigest())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--files", type=int, default=100)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--runs", type=int, default=3)
    options = arguments.parse_args()
    missing = [
        name
        for name, found in (("wrk", shutil.which("wrk")), ("nginx", rig.Nginx.path()))
        if found is None
    ]
    if missing:
        print(f"skipped: {' and '.join(missing)} not installed")
        return
    rig.pin_client()
    rows: list[tuple[str, str, str]] = []
    figures: dict[str, object] = {"files": options.files}
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        server = stack.enter_context(rig.Server(folder).running())
        publish(server, folder, options.files)
        static = folder / "static"
        static.mkdir()
        for name, accept in (("html", HTML), ("json", JSON)):
            (static / f"page.{name}").write_bytes(server.get("/simple/example/", accept))
        nginx = stack.enter_context(
            rig.Nginx(folder, static, types=f"{HTML} html; {JSON} json;").running()
        )
        for title, name, accept, status in (
            ("HTML", "html", HTML, 200),
            ("JSON", "json", JSON, 200),
            ("304", "json", JSON, 304),
        ):
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(options.runs):
                for port, path, counted in (
                    (nginx.port, f"/page.{name}", theirs),
                    (server.port, "/simple/example/", ours),
                ):
                    headers = {"Accept": accept}
                    if status == 304:
                        headers["If-None-Match"] = expected(port, path, headers, 200).headers[
                            "ETag"
                        ]
                    counted.append(requests_a_second(port, path, headers, options.seconds, status))
            turn = rig.compare(ours, theirs)
            size = (static / f"page.{name}").stat().st_size
            what = f"{title}, {size / 1000:.0f} kB" if status == 200 else title
            rows.append(
                (
                    what,
                    f"{turn.ratio:.3f} x nginx ({turn.ours:,.0f} : {turn.theirs:,.0f} a second)",
                    ">= 1.3 x" if title == "HTML" else "",
                )
            )
            figures[title] = {
                "ratio": turn.ratio,
                "pypid": turn.ours,
                "nginx": turn.theirs,
            }
    rig.report(f"A warm page of {options.files} files, {CONNECTIONS} connections", rows, figures)


if __name__ == "__main__":
    main()
