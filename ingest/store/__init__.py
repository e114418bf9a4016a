"""Everything that talks to the database on the hot path and around it."""
