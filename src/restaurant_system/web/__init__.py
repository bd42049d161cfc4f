"""What all HTTP services share: server, limits on requests, errors, request ids, live views."""
