"""The HTTP API of pypicloud, route by route, over the same face, guard and rules as all other
routes.
"""
