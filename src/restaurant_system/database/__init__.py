"""All SQL, and the PostgreSQL server that executes it."""
