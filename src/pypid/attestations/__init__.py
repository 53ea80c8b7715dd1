"""Attestations of uploads (PEP 740): their verification by Sigstore."""
