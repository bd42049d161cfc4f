"""Users, API keys, sessions: who calls, and what it may do."""
