"""The platform API: what web applications and scripts ask of Rollcall. Start reading in application.py."""
