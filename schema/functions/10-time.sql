-- Times: the service computes with microseconds since 1970, and the tables of the platform hold timestamps.

create or replace function rollcall.timestamp_of(micros bigint) returns timestamptz
language sql stable parallel safe
return timestamptz '1970-01-01 00:00:00+00' + micros * interval '1 microsecond';

create or replace function rollcall.micros_of(at timestamptz) returns bigint
language sql stable parallel safe
return (extract(epoch from at) * 1000000)::bigint;
