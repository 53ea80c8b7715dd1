"""The index as static files: reads a list of file names and writes a tree of pages, without server,
configuration or packages.

`page_names` finds the project of a file, `package_list` parses lists, `pages` and `front` render
(with `core.simple_api.render`, as the server does), `tree` writes the pages that differ, and
`build` runs these in order.
"""
