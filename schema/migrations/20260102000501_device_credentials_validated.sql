select rollcall.validate_check('public.device_credentials', 'credential_type');
