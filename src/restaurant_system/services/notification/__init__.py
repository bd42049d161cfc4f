"""The notification subscriber: prints status changes."""
