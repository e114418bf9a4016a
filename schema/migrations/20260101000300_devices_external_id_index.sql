-- no transaction
-- unless: select rollcall.has_index('public.devices', 'btree', '{integration_id,external_device_id}')
create index concurrently if not exists devices_integration_id_external_device_id_idx on public.devices (integration_id, external_device_id);
