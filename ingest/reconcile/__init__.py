"""Reconciliation: what a provider lists becomes observations, and goes the way of all others into the rows."""
