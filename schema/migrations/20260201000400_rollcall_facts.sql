-- What providers say about a device besides its telemetry: the newest word on each field, and what both sides last
-- agreed on (see handlers/conflicts.py). A field is a column of devices, a key of its metadata, or `lifecycle`.
create table if not exists rollcall.device_facts (
    device_id uuid not null references public.devices (id) on delete cascade,
    field text not null,
    remote jsonb not null,
    remote_at bigint not null,
    agreed jsonb,
    primary key (device_id, field)
) with (fillfactor = 80);

-- A field of a row as JSON. A name that is only the device's id says nothing.
create or replace function rollcall.local_fact(d public.devices, field text) returns jsonb
language sql stable parallel safe
return case field
    when 'name' then to_jsonb(case when d.name in (d.external_device_id, d.serial_number) then null else d.name end)
    when 'serial_number' then to_jsonb(d.serial_number)
    when 'hardware_ids' then to_jsonb(nullif(d.hardware_ids, '{}'))
    when 'cohort_id' then to_jsonb(d.cohort_id)
    when 'golioth_status' then to_jsonb(d.golioth_status)
    else d.metadata -> substr(field, 10) end;
