"""What cannot be beaten: each stage of the work alone, by our libraries, with nothing around it.

Each module is a process of its own that prints one figure; `measure.py` runs them, each stage on
one core and what it works with on another.
"""
