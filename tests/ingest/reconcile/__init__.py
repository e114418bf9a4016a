"""Tests of the reconciliation with providers."""
