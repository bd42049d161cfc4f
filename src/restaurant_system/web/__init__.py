"""What every HTTP service shares: errors, request ids, bodies, health, the server."""
