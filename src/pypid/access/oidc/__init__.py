"""Trusted publishing: issuers of identity tokens (OIDC), their keys, and the tokens of ours that
they are exchanged for.

Why so: decision 0018.
"""
