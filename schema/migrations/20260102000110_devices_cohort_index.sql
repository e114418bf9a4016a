-- no transaction
-- unless: select rollcall.has_index('public.devices', array['cohort_id'])
create index concurrently if not exists devices_cohort_id_idx on public.devices (cohort_id);
