"""The domain of the restaurant: pure Python without I/O, imports nothing else of this project."""
