"""The kitchen worker: cooks."""
