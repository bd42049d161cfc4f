"""One folder, one purpose each; services never import one another."""
