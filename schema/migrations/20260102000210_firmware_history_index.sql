-- no transaction
-- unless: select rollcall.has_index('public.device_firmware_history', array['device_id'])
create index concurrently if not exists device_firmware_history_device_id_installed_at_idx on public.device_firmware_history (device_id, installed_at);
