"""The site: pages for people, made on the server. `pages` makes one, the other modules are the
rooms of the site.
"""
