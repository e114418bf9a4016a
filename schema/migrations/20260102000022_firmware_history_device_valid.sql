-- repair: delete from public.device_firmware_history h
--     where not exists (select from public.devices d where d.id = h.device_id)
select rollcall.validate_constraint('public.device_firmware_history', 'device_firmware_history_device_id_fkey');
