"""Rollcall: the part that decides. Pure functions from bytes to observations, and the model of a device's row."""
