"""What `rollcall up` starts on this machine: a Postgres, a broker, the service, a simulated fleet."""
