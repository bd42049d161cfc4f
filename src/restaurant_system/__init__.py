"""Order management for restaurants: orders over HTTP, cooked, notified and tracked."""

__version__ = "0.1.0"
