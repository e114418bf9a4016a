"""Egress: which addresses a connection may go to that a row of device_integrations asks for."""
