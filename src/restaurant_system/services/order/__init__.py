"""The order service: accepts orders over HTTP."""
