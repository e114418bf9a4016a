-- no transaction
-- unless: select rollcall.has_index('public.devices', 'btree', '{organization_id}')
create index concurrently if not exists devices_organization_id_idx on public.devices (organization_id);
