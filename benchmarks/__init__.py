"""What this is measured against, and how: every figure beside its floor, from the same run."""
