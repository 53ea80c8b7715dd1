"""The index as static files: a list of file names in, a tree of pages out, with no server, no
configuration and no packages.

`naming` knows where a file belongs, `reading` makes values of lists, `pages` and `front` render (by
`core.simple_api.render`, as the server does), `tree` writes what has changed, and `building` does
these in order.
"""
