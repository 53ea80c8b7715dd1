"""The HTTP API of pypicloud, route by route, over the same app, guard and rules as all other
routes.
"""
