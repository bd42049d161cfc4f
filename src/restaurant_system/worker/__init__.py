"""What a simulated cook and a station share: registration, heartbeats, consuming orders."""
