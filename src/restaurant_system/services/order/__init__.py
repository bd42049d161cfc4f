"""The order service: takes orders over HTTP."""
