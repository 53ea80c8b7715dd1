"""What pypid needs, as wheels in one folder: a test that installs pypid finds them there, and asks
no registry anew.

To resolve and to fetch the same seventy projects takes pip twenty seconds of work each time. Here
it is done once, by pip and from the registry, under the constraints of the checkout; the folder
stays in ``.clients/`` as long as those are the same.
"""

import shutil
from functools import cache
from pathlib import Path
from typing import Final

from tests.live.clients import CLIENTS, OURS, ROOT, client, locked, tried_once
from tests.live.processes import copy_source, done, scratch

TOOLS: Final = ("setuptools", "wheel", "build", "shiv")
"""What builds pypid itself and its single file; pip looks for it in the same place."""


@cache
def wheels() -> Path:
    """The folder, for our Python. Skips where clients cannot be had (see `client`)."""
    folder, stamp = CLIENTS / "wheels", CLIENTS / "wheels/made"
    recipe = "\n".join(
        [OURS, *TOOLS, *((ROOT / name).read_text() for name in ("setup.py", "constraints.txt"))]
    )
    pip = client(f"pip-on-{OURS}")
    with locked("wheels"):
        if not stamp.is_file() or stamp.read_text() != recipe:
            with tried_once("wheels"), scratch() as place:
                shutil.rmtree(folder, ignore_errors=True)
                source = copy_source(place / "source")
                limits = ("--constraint", source / "constraints.txt")
                done(
                    [
                        pip,
                        "wheel",
                        "--quiet",
                        "--wheel-dir",
                        folder,
                        *limits,
                        f"{source}[all]",
                        *TOOLS,
                    ],
                    timeout=900,
                )
            for ours in folder.glob(
                "pypid_server-*.whl"
            ):  # it is what is tested: a test that needs it builds it
                ours.unlink()
            stamp.write_text(recipe)
    return folder


def offline(folder: Path) -> dict[str, str]:
    """The environment in which pip looks only there."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
