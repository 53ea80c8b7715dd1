"""The names of pypicloud's commands; the code is in pypid (src/pypid/cli/pypicloud.py).

Build it in the source tree: version and licence come from there.
"""

import sys
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pypid import __version__  # noqa: E402
from pypid.core.installation import DISTRIBUTION, PYPICLOUD_DISTRIBUTION  # noqa: E402

COMMANDS = {
    "ppc-gen-password": "gen_password",
    "pypicloud-gen-password": "gen_password",
    "ppc-make-config": "make_config",
    "pypicloud-make-config": "make_config",
    "ppc-export": "export",
    "ppc-import": "import_",
    "ppc-migrate": "migrate",
    "pypicloud-create-schema": "create_schema",
    "ppc-create-s3-sync": "create_s3_sync",
    "ppc-build-lambda-bundle": "build_lambda_bundle",
}

setup(
    name=PYPICLOUD_DISTRIBUTION,
    version=__version__,
    description="The names of pypicloud's commands, for pypid",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license_expression="MIT",
    license_files=["LICENSE"],
    author="The pypid authors",
    python_requires=">=3.11",
    py_modules=[],
    install_requires=[f"{DISTRIBUTION}=={__version__}"],
    entry_points={
        "console_scripts": [f"{name} = pypid.cli.pypicloud:{run}" for name, run in COMMANDS.items()]
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: System :: Software Distribution",
    ],
)
