"""The kitchen worker: a simulated cook."""
