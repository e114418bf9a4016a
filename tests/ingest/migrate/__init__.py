"""The migrations, against real databases in every state in which they may be found."""
