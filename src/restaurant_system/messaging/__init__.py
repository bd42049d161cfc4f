"""The only place that knows a broker."""
