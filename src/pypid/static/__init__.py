"""The index as static files: reads a list of file names and writes a tree of pages, without server,
configuration or packages.

`naming` finds the project of a file, `reading` parses lists, `pages` and `front` render (with
`core.simple_api.render`, as the server does), `tree` writes what has changed, and `building` runs
these in order.
"""
