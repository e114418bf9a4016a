-- no transaction
-- unless: select rollcall.has_index('public.sync_conflicts', 'btree', '{device_id}')
create index concurrently if not exists sync_conflicts_device_id_idx on public.sync_conflicts (device_id);
