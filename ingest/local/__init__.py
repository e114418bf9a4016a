"""The parts of `rollcall up` on this machine: a Postgres, a broker, the service, a simulated fleet."""
