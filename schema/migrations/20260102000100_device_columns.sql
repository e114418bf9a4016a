-- 1. When a device was last seen online and offline, what it calls itself, and its group.
alter table public.devices
    add column if not exists last_seen_online timestamptz,
    add column if not exists last_seen_offline timestamptz,
    add column if not exists hardware_ids text[],
    add column if not exists cohort_id text,
    add column if not exists golioth_status text;

select rollcall.add_check('public.devices', 'golioth_status',
    $$golioth_status in ('enabled', 'disabled', 'suspended')$$);
