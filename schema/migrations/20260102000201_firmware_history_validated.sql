select rollcall.validate_check('public.device_firmware_history', 'source');
