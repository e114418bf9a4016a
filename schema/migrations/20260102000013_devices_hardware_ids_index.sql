-- no transaction
-- unless: select rollcall.has_index('public.devices', 'gin', '{hardware_ids}')
create index concurrently if not exists devices_hardware_ids_idx on public.devices using gin (hardware_ids);
