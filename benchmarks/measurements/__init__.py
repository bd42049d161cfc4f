"""Measure each group of results in a module of its own."""
