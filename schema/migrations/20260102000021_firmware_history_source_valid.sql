-- Rows that break it are mended by: update public.device_firmware_history set source = 'unknown'
--     where source not in ('ota_update', 'manual_provision', 'factory_default', 'unknown')
select rollcall.validate_constraint('public.device_firmware_history', 'device_firmware_history_source_check');
