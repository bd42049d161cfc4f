"""Measure floors: each stage of the work alone, with the same libraries and nothing else.

Each module is a process of its own that prints one figure; `measure.py` runs them, each stage on
one core and what it works with on another.
"""
