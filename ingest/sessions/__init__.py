"""Slots: the sessions of one integration, spread over the replicas that run it."""
