"""Remove from a folder of installed packages what `dist/pypid` never uses.

The binary unpacks itself on its first start, so each file costs time there.
"""

import shutil
import sys
from pathlib import Path

UNUSED = (
    "**/__pycache__",
    "**/test",
    "**/tests",
    "**/test_data",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "*.dist-info/INSTALLER",
    "*.dist-info/RECORD",
    "*.dist-info/REQUESTED",
    "*.dist-info/WHEEL",
    "*.dist-info/top_level.txt",
    "markdown_it",
    "rich",
    "sqlalchemy/testing",
    "twisted/conch",
    "twisted/mail",
    "twisted/names",
    "twisted/pair",
    "twisted/positioning",
    "twisted/words",
)
"""Files and folders that only tests, type checkers, compilers, installers and other commands use:
rich and markdown_it belong to sigstore's own command line."""

USED_SERVICES = {"s3", "signin", "sso", "sso-oidc", "sts"}
"""The services of botocore that pypid uses: the storage, and those that give credentials."""

USED_SCRIPTS = {"uv"}


def prune(folder: Path) -> None:
    """Remove what is unused from `folder`."""
    unused = [path for pattern in UNUSED for path in folder.glob(pattern)]
    services = (path for path in (folder / "botocore/data").iterdir() if path.is_dir())
    unused += [path for path in services if path.name not in USED_SERVICES]
    unused += [path for path in (folder / "bin").iterdir() if path.name not in USED_SCRIPTS]
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    prune(Path(sys.argv[1]))
