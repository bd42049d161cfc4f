"""What the business says: pure Python, no I/O, nothing of ours imported."""
