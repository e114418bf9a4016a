"""Rows that configure the service: integrations as each part reads them, and where secrets stand."""
