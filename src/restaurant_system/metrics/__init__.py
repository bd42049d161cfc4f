"""Metrics for Prometheus: their definitions, how they are observed, and how they are exposed.

Like the logger, this package may be imported from anywhere. It is the only one that knows
prometheus-client. `definitions.py` lists every metric.
"""
