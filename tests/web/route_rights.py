"""The right that each route asks for, by hand: the oracle of every test of rights and routes.

A route that is added fails in `tests.web.test_matrix` until it stands here.
"""

from __future__ import annotations

from pypid.core.permissions import Action
from pypid.web.app.route import ANYBODY, SOMEBODY

_ROUTES = {
    # "+": named indexes have the route, too. "-": it exists only once, at the root.
    "read": """
        + GET /simple/<project>/
        + GET /+simple/<project>/
        + GET /simple/+simple/<project>/
        + GET /legacy/+simple/<project>/
        + GET /local/<project>/
        + GET /local/<project>/<filename>
        + GET /packages/<project>/<filename>
        + GET /at/<moment>/simple/<project>/
        + GET /at/<moment>/packages/<project>/<filename>
        - GET /packages/<python>/<letter>/<project>/<filename>
        + GET /integrity/<project>/<version>/<filename>/provenance
        - GET /api/trust/<project>/files/<filename>
        + GET /pypi/<project>/json
        + GET /pypi/<project>/<version>/json
        + GET /api/projects/<project>
        - GET /pypi/<project>/
        + GET /simple/<project>/json
        - GET /<project>/
        - GET /api/package/<project>/<filename>
        + GET /project/<project>/
        + GET /project/<project>/<version>/
        + GET /project/<project>/-/versions
        + GET /project/<project>/-/contents/<filename>
        + GET /project/<project>/-/compare
        + GET /api/projects/<project>/files/<filename>/contents
        + GET /api/projects/<project>/compare
        + GET /api/projects/<project>/downloads
        + GET /
        + GET OPTIONS /simple/
        + GET OPTIONS /local/
        + GET OPTIONS /at/<moment>/simple/
        + GET /legacy/
        + GET /pypi/
        + GET /api/projects
        + GET /api/news
        + GET /api/search
        + GET /search
        + GET /rss/updates.xml
        + GET /rss/packages.xml
        + GET /rss/project/<project>/releases.xml
        - GET /api/package/
        - GET /packages/
        + GET /advisories
        + GET /advisories/<advisory>
        + GET /api/advisories
        + POST /api/advisories/check
        + POST /osv/v1/query
        + POST /osv/v1/querybatch
        + GET /osv/v1/vulns/<advisory>
    """,
    "point": """
        + GET /project/<project>/-/why
        - GET /api/package/<project>/
        + GET /legacy/<project>/
        + GET /legacy/<project>/<version>/
        + OPTIONS /simple/<project>/
        + OPTIONS /local/<project>/
        + OPTIONS /local/<project>/<filename>
        + OPTIONS /packages/<project>/<filename>
        + OPTIONS /at/<moment>/simple/<project>/
        + OPTIONS /at/<moment>/packages/<project>/<filename>
        + OPTIONS /pypi/<project>/json
        + OPTIONS /pypi/<project>/<version>/json
    """,
    "write": """
        + PUT DELETE /api/projects/<project>/files/<filename>/yank
        + PUT DELETE /api/projects/<project>/releases/<version>/yank
    """,
    "publish": """
        + POST /
        + POST /simple/
        + POST /pypi/
        + POST /legacy/
        - POST /uploadpackage/
        - PUT /packages/<python>/<letter>/<project>/<filename>
        - POST /api/package/<project>/<filename>
        + GET /api/why/<project>
        + GET /api/why/<project>/<filename>
        + GET POST /upload
        + GET /project/<project>/-/settings
        + POST /project/<project>/-/yank
        + POST /project/<project>/-/unyank
        + POST /project/<project>/-/promote
    """,
    "delete": """
        + DELETE /api/projects/<project>
        + DELETE /api/projects/<project>/files/<filename>
        + DELETE /api/projects/<project>/releases/<version>
        - DELETE /api/package/<project>/<filename>
        + POST /project/<project>/-/delete
    """,
    "collect": """
        + POST /requirements.txt
    """,
    "manage": """
        + GET /api/projects/<project>/owner
        - GET /api/projects/<project>/rights
        - PUT DELETE /api/projects/<project>/rights/<kind>
        - PUT DELETE /api/projects/<project>/rights/<kind>/<name>
        - GET POST /project/<project>/-/rights
    """,
    "metrics": """
        - GET /metrics
    """,
    "admin": """
        + PUT /api/projects/<project>/status
        + POST /project/<project>/-/status
        + POST /project/<project>/-/release-name
        + POST /project/<project>/-/owner
        + DELETE /api/names/<project>
        - GET DELETE /api/cache
        - GET DELETE /api/cache/<project>
        - DELETE /api/cache/<project>/<filename>
        - GET POST /api/blocks
        - GET /api/trust
        - DELETE /api/trust/<project>
        - POST /api/trust/<project>/approvals
        - GET DELETE /api/blocks/<block>
        - GET POST /api/approvals
        - DELETE /api/approvals/<approval>
        - GET POST /manage/approvals
        - POST /api/indexes
        - PATCH DELETE /api/indexes/<index>
        - GET POST /manage/indexes
        - GET POST /manage/indexes/<name>
        - POST /api/check
        - POST /api/export
        + POST /api/tier
        + POST /api/rebuild
        + POST /api/rebuild/<project>
        + POST /api/adopt
        - POST /api/adopt/survey
        + POST /api/import
        + POST /api/import/survey
        - GET POST /api/users
        - GET PATCH DELETE /api/users/<name>
        - GET POST /api/groups
        - GET DELETE /api/groups/<name>
        - PUT DELETE /api/groups/<name>/members/<user>
        - GET /api/rights
        - GET /api/rights/<glob>
        - PUT DELETE /api/rights/<glob>/<kind>
        - PUT DELETE /api/rights/<glob>/<kind>/<name>
        + PUT DELETE /api/projects/<project>/owner
        + GET /api/projects/<project>/access/<user>
        - GET POST /api/invitations
        - DELETE /api/invitations/<id>
        - GET /api/audit
        - GET /manage/
        - GET /manage/why
        - GET /manage/upstream
        - POST /manage/upstream/purge
        - GET /manage/storage
        - POST /manage/rebuild
        - POST /manage/check
        - GET POST /manage/blocks
        - GET POST /manage/trust
        - GET /manage/configuration
        - POST /manage/log-level
        - GET POST /manage/users
        - GET POST /manage/users/<name>
        - POST /manage/invitations
        - GET POST /manage/groups
        - GET POST /manage/groups/<name>
        - GET /manage/rights
        - GET POST /manage/rights/<glob>
        - GET /manage/tokens
        - POST /manage/tokens/revoke
        - GET /manage/audit
        - GET PUT /api/log-level
        - GET /api/status
        - POST /api/reload
        - GET /api/configuration
        - GET /api/upstream
        - GET /api/downloads
        - POST /api/acl
    """,
    "anybody": """
        - PUT /api/user/<name>
        - POST PUT /acct/login
        - POST /acct/logout
        - GET /health
        - GET /ready
        - GET /api/me
        - GET /api/indexes
        - GET /api/indexes/<index>
        - GET POST DELETE /api/session
        - GET /api/captcha
        - GET /api/openapi.json
        + GET /config/ca.pem
        + GET /config/<filename>
        - POST /api/register
        - GET /_/oidc/audience
        - POST /_/oidc/mint-token
        - GET /.well-known/pytp
        - GET /_/ui/<digest>/<name>
        - GET /docs/
        - GET /docs/<path:page>
        - GET POST /account/login
        - POST /account/logout
        - GET POST /account/register
    """,
    "somebody": """
        - GET /account/
        - POST /account/password
        - POST /account/tokens
        - POST /api/user/password
        - GET POST /api/tokens
        - DELETE /api/tokens/<id>
        - GET /api/promotions
        - POST /api/indexes/<index>/promotions
        - PUT /api/users/<name>/password
    """,
}
RIGHTS: dict[str, object] = {
    # the right that a route of the class declares
    "read": Action.READ,
    "point": Action.READ,
    "write": Action.WRITE,
    "publish": Action.WRITE,
    "delete": Action.DELETE,
    "collect": Action.COLLECT,
    "manage": Action.MANAGE,
    "metrics": Action.METRICS,
    "admin": Action.ADMIN,
    "anybody": ANYBODY,
    "somebody": SOMEBODY,
}
CLASSES: dict[tuple[str, str], str] = {}
"""The class of each rule and method."""
BELOW: set[tuple[str, str]] = set()
"""The rules and methods that a named index has."""

for _name, _lines in _ROUTES.items():
    for _line in _lines.strip().splitlines():
        _where, *_methods, _rule = _line.split()
        for _method in _methods:
            assert (_rule, _method) not in CLASSES, (_rule, _method)
            CLASSES[_rule, _method] = _name
            if _method == "GET":
                CLASSES[_rule, "HEAD"] = _name
            if _where == "+":
                BELOW.add((_rule, _method))
