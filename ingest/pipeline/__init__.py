"""From what came in to what is committed, and back to its acknowledgement."""
