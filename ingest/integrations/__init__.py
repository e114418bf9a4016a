"""Integrations: a row of device_integrations becomes what it asks for: settings, secrets, plans of sessions."""
