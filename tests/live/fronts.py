"""A real nginx in front of a pypid, as docs/operate/tls-and-proxies.rst has it: below a path, with TLS, with a Host
that it changes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.live.clients import tool
from tests.live.processes import running

FORWARDED: Final = """
        proxy_http_version 1.1;
        proxy_set_header Host {host};
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_request_buffering off;
        client_max_body_size 4g;
"""
"""What docs/operate/tls-and-proxies.rst says."""


def server(
    port: int, behind: int, *, path: str = "/", host: str = "$http_host", tls: Path | None = None
) -> str:
    """One that passes all below `path` on, with that Host; `tls`: a folder with ``chain.pem`` and
    ``key.pem``.
    """
    secure = (
        ""
        if tls is None
        else f"ssl_certificate {tls}/chain.pem; ssl_certificate_key {tls}/key.pem;"
    )
    slash = "/" if path != "/" else ""
    return (
        f"server {{ listen 127.0.0.1:{port}{'' if tls is None else ' ssl'}; {secure}\n"
        f"    location {path} {{\n        proxy_pass "
        f"http://127.0.0.1:{behind}{slash};{FORWARDED.format(host=host)}    }}\n}}\n"
    )


@contextmanager
def nginx(folder: Path, *servers: str) -> Iterator[Path]:
    """One that runs with these; its folder, with the log ``errors`` and ``access``."""
    folder.mkdir(exist_ok=True)
    paths = "".join(
        f"{what}_temp_path {folder / what};"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;\n"
        f"events {{}}\nhttp {{ {paths} access_log {folder}/access;\n{''.join(servers)}\n"
        f"server {{ listen unix:{folder}/there; return 200; }} }}\n"
    )
    with running(
        [
            tool("nginx", "nginx-light"),
            "-p",
            folder,
            "-e",
            folder / "errors",
            "-c",
            folder / "nginx.conf",
        ],
        folder / "output",
    ) as process:
        for _ in range(500):
            if (folder / "there").exists():
                break
            assert process.process.poll() is None, (
                process.output(),
                (folder / "errors").read_text(),
            )
            time.sleep(0.01)
        yield folder
