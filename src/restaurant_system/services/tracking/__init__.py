"""The tracking service: answers where orders are; only reads."""
