"""Servers that the tests own: nothing needs to be running first."""
