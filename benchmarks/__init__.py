"""Measure the product next to a floor: what the same servers do without it, in the same run."""
