"""HTTP for all services: server, limits on requests, errors, request ids, live views."""
