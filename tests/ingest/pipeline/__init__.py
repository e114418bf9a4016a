"""Tests of the pipeline and the whole service."""
