"""Registration, heartbeats and consuming of orders, for simulated cooks and stations."""
