"""Sphinx: warnings are errors (`make docs`)."""

from pathlib import Path

from pypid import __version__
from pypid.core.configuration.reference import configuration_rst

project = "pypid"
author = "the founders of pypid"
copyright = "2026, the founders of pypid"
version = release = __version__
extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build", "operate/figures.rst"]  # performance.rst includes the figures
html_theme = "alabaster"
html_theme_options = {"description": "A team's Python package index in one daemon", "fixed_sidebar": True}
html_static_path: list[str] = []
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
default_role = "code"
nitpicky = False

# the page of the configuration is made from the declarations that parse it; it is committed, for who reads the source
page = Path(__file__).parent / "reference/configuration.rst"
if not page.exists() or page.read_text() != configuration_rst():
    page.write_text(configuration_rst())
