"""Stores of blobs by key: one module for each technology (`ports.Blobs`)."""
