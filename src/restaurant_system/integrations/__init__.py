"""Orders of ordering platforms: one module for each, which maps its payload to our order.

Nothing here does I/O. `registry` finds the modules; docs/integrations.md describes the mappings.
"""
