"""Pictures of the screens on a staged evening, as the README shows them: `make screenshots`."""
