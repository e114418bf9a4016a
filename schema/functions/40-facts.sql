-- Facts: what a row of the platform says on a field that a provider also has a word on (handlers/conflicts.py).

-- A field of a row as JSON. A name that is only the device's id says nothing.
create or replace function rollcall.local_fact(d public.devices, field text) returns jsonb
language sql stable parallel safe
return case field
    when 'name' then pg_catalog.to_jsonb(case when d.name in (d.external_device_id, d.serial_number) then null else d.name end)
    when 'serial_number' then pg_catalog.to_jsonb(d.serial_number)
    when 'hardware_ids' then pg_catalog.to_jsonb(nullif(d.hardware_ids, '{}'))
    when 'cohort_id' then pg_catalog.to_jsonb(d.cohort_id)
    when 'golioth_status' then pg_catalog.to_jsonb(d.golioth_status)
    else d.metadata -> pg_catalog.substr(field, 10) end;
