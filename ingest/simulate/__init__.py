"""A fleet of devices that never were: `rollcall simulate`, and what `rollcall up` shows."""
