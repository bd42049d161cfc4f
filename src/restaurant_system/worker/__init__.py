"""A worker, simulated or operated by people: registers, sends heartbeats, consumes orders."""
