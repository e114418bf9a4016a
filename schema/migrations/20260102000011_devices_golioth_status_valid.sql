-- Rows that break it are mended by: update public.devices set golioth_status = null where golioth_status not in ('enabled', 'disabled', 'suspended')
select rollcall.validate_constraint('public.devices', 'devices_golioth_status_check');
