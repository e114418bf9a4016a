select rollcall.validate_check('public.devices', 'golioth_status');
