"""Measure floors: each stage of the work alone, with the same libraries and nothing else.

Each module runs as a separate process that prints one figure; `measure.py` runs them, each stage on
one core and its server on another.
"""
