"""Answer the two most frequent requests without ASGI, middleware and routing."""
