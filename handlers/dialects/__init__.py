"""Dialects: how the bytes of one family of devices are read."""
