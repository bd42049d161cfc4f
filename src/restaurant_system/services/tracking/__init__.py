"""The tracking service: read-only queries about orders, and live views."""
