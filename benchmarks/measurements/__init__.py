"""The measurements of `make bench`, one module for each group of results."""
