"""Tests of the pure part: bytes to observations, sets of observations to rows."""
