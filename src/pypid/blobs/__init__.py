"""Bytes by key: one module for each technology (`ports.Blobs`)."""
