"""Upstream indexes: one module for each way to access them (`ports.Upstream`)."""
