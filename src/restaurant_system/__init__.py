"""A restaurant's evening: orders in over HTTP, cooked, told and tracked."""

__version__ = "0.1.0"
