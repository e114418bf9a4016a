-- Rows that break it are mended by: update public.sync_conflicts set resolution_strategy = null
--     where resolution_strategy not in ('prefer_local', 'prefer_remote', 'manual', 'merge')
select rollcall.validate_constraint('public.sync_conflicts', 'sync_conflicts_resolution_strategy_check');
