"""The HTTP API for web applications and scripts. Start reading in application.py."""
