select rollcall.validate_check('public.sync_conflicts', 'resolution_strategy');
