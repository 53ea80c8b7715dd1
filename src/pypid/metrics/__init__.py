"""The numbers that pypid tells Prometheus: which there are, how they are counted, and how they
become a page.

Counting stands on the hot path and is done here, with plain dictionaries; `prometheus_client` is
brought when somebody reads.
"""
