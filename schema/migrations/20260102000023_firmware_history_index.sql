-- no transaction
-- unless: select rollcall.has_index('public.device_firmware_history', 'btree', '{device_id,installed_at}')
create index concurrently if not exists device_firmware_history_device_id_installed_at_idx
    on public.device_firmware_history (device_id, installed_at desc);
