"""The rows that a commit writes: the batch, identities, new rows, parking, sessions, the timeline."""
