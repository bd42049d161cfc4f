"""The notification subscriber: tells people of every step."""
