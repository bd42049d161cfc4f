"""Take the pictures of the screens for the README: `make screenshots`."""
