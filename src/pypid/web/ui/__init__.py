"""The web site: HTML pages rendered on the server. `pages` renders a page; the other modules are
the sections of the site.
"""
