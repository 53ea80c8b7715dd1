import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))

from pypid import __version__  # noqa: E402
from pypid.core.installation import DISTRIBUTION  # noqa: E402

EXTRAS = {
    # every optional part has its extra here; `all` is their sum
    "advisories": ["pyyaml>=6.0"],  # advisories in YAML ([advisories] source, own)
    "attestations": [
        "pypi-attestations>=0.0.30",
        "sigstore>=4.5,<5",
    ],  # who signed what was uploaded (PEP 740)
    "collect": ["uv>=0.7"],  # which releases requirements need (POST /requirements.txt)
    "hashes": [
        "libpass[bcrypt]>=1.9"
    ],  # verify password hashes of other programs (bcrypt, sha512_crypt, pbkdf2)
    "postgresql": ["psycopg[binary]>=3.2"],  # accounts that several nodes share
    "redis": ["txredisapi>=1.6"],  # signed URLs that several nodes share, in a Redis
    "s3": [
        "botocore>=1.36"
    ],  # packages in a bucket: signatures, credentials and endpoints (nothing is sent by it)
}

BUILT = {
    # parts that need a compiler and the headers of a C library (docs/project/developing.rst), so not in `all`
    "ldap": [
        "python-ldap>=3.4.4"
    ],  # people and groups out of a directory: Debian's libldap2-dev and libsasl2-dev
}

TOOLS = {
    # for those who work on pypid (see docs/project/developing.rst); not parts of it, so not in `all`
    "test": [
        "hypothesis>=6.100",
        "import-linter>=2.1",
        "mypy>=1.15",
        "mypy-zope>=1.0.9",
        "playwright>=1.49",
        "pyyaml>=6.0",
        "proselint>=0.16",
        "ruff>=0.9",
        "schemathesis>=4.0",
        "uv>=0.7",
    ],
    "docs": ["furo>=2024.8.6", "sphinx>=8.1", "sphinx-copybutton>=0.5.2"],
}

README = next(path for path in (HERE / "README.md", HERE / "README.rst") if path.exists())

DOCUMENTATION = HERE / "docs/_build/html"
MANUAL = HERE / "docs/_build/man"
"""Where `make dist` puts the documentation; source distributions contain it there."""

SHARED = "share/pypid"
"""Below the environment that pypid is installed in: units, and configurations for other programs."""

NOT_SHARED = {"Containerfile", "deb", "secrets"}
"""What of etc/ only builds something out of the source tree, and the passwords of etc/compose."""


class BuildWithDocumentation(build_py):  # type: ignore[misc]
    """Copy the documentation into the package, which serves it at ``/docs/``."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode and DOCUMENTATION.is_dir():
            target = Path(self.build_lib, "pypid/documentation")
            shutil.copytree(
                DOCUMENTATION,
                target,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(".buildinfo", "*.map"),
            )


def shared_files() -> Iterator[tuple[str, list[str]]]:
    """Yield folders below the environment with their files: etc/ below `SHARED`, and the manual."""
    if MANUAL.is_dir():
        yield "share/man/man1", sorted(str(path.relative_to(HERE)) for path in MANUAL.glob("*.1"))
    for folder in (HERE / "etc", *(path for path in (HERE / "etc").rglob("*") if path.is_dir())):
        within = folder.relative_to(HERE / "etc")
        if not NOT_SHARED & set(within.parts):
            files = [path for path in folder.iterdir() if path.is_file()]
            names = [str(path.relative_to(HERE)) for path in files if path.name not in NOT_SHARED]
            yield f"{SHARED}/{within}".removesuffix("/."), sorted(names)


setup(
    name=DISTRIBUTION,
    version=__version__,
    description="A team's Python package index in one Twisted daemon",
    long_description=README.read_text(encoding="utf-8"),
    long_description_content_type=f"text/{'markdown' if README.suffix == '.md' else 'x-rst'}",
    license_expression="MIT",
    license_files=["LICENSE"],
    author="The pypid authors",
    keywords=["package index", "private index", "proxy", "cache", "PyPI"],
    python_requires=">=3.11",
    package_dir={"": "src"},
    packages=[*find_packages("src", include=["pypid", "pypid.*"]), "twisted.plugins"],
    package_data={
        "pypid": ["py.typed", "pypid.ini", "documentation/**"],
        "pypid.index.upstream": ["popular_names.txt"],
        "pypid.web.ui": ["templates/*", "assets/*/*", "assets/*.*"],
    },
    data_files=sorted(shared_files()),
    cmdclass={"build_py": BuildWithDocumentation},
    install_requires=[
        "altcha>=2.3",
        "argon2-cffi>=23.1",
        "attrs>=23.2",
        "cryptography>=42",
        "isal>=1.7; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
        "jinja2>=3.1.4",
        "klein>=24.8",
        "msgspec>=0.19",
        "multipart>=2.0",
        "packaging>=26.0",
        "prometheus-client>=0.22",
        "pyjwt[crypto]>=2.10",
        "pyopenssl>=24",
        "readme-renderer[md]>=44",
        "service-identity>=24.1",
        "shtab>=1.7",
        "sqlalchemy>=2.0.36",
        "treq>=24.9",
        "trove-classifiers>=2024.10.13",
        "twisted>=24.7",
        "typing-extensions>=4.4",
    ],
    extras_require={
        **EXTRAS,
        "all": sorted({need for needs in EXTRAS.values() for need in needs}),
        **BUILT,
        **TOOLS,
    },
    entry_points={"console_scripts": ["pypid = pypid.cli:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Environment :: Web Environment",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Topic :: Software Development :: Build Tools",
        "Topic :: System :: Software Distribution",
        "Typing :: Typed",
    ],
)
