"""Metrics for Prometheus: their definitions, how they are counted, and how they become a page.

Counting is on the hot path and is done here, with plain dictionaries; `prometheus_client` is
imported when the page is requested.
"""
