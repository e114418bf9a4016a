"""Providers: the clouds that can be asked about a fleet, behind one port."""
