"""What people ask of the database, through the command line and the API."""
