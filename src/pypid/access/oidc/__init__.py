"""Trusted publishing: issuers of identity tokens (OIDC), their keys, and the pypid tokens that they
are exchanged for.

Rationale: docs/project/decisions.
"""
