"""Sphinx: warnings are errors (`make docs`)."""

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.search import SearchEnglish, languages

from pypid import __version__


class SearchWithNumbers(SearchEnglish):
    """English with numbers, such as HTTP statuses, which Sphinx leaves out of its index and `search_scorer.js` adds to queries."""

    def word_filter(self, word: str) -> bool:
        return 3 <= len(word) <= 5 if word.isdigit() else super().word_filter(word)


languages["en"] = SearchWithNumbers

project = "pypid"
author = "the founders of pypid"
copyright = "2026, the founders of pypid"
version = release = __version__
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
extensions = [
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "openapi_routes",
    "commands",
    "configuration_keys",
    "metrics_table",
    "pypicloud_keys",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"pypid {version}"
html_static_path = ["_static"]
html_css_files = ["pypid.css"]
html_js_files = ["pypid.js"]
html_favicon = "_static/icon.svg"
html_search_scorer = str(Path(__file__).parent / "search_scorer.js")
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_prompt_text = "$ "

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
default_role = "code"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", ".*")
]  # types of other libraries; only the sockets are documented here
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost|[a-z.]*example(\.[a-z]+)?)[:/]?.*"]

man_show_urls = False
man_pages = [("reference/command-line", "pypid", "a team's Python package index", [author], 1)]


def setup(app: Sphinx) -> None:
    """Write all pages if one has changed: Sphinx's search forgets the index entries of pages that a build does not write."""
    changed: set[str] = set()
    app.connect("env-get-outdated", lambda app, env, *names: changed.update(*names) or [])
    app.connect("env-updated", lambda app, env: list(env.found_docs) if changed else [])
