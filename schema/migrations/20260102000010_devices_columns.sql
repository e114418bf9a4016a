-- An older form of this has hardware_ids default '{}' and a partial index on last_seen_online: both are left alone.
alter table public.devices
    add column if not exists last_seen_online timestamptz,
    add column if not exists last_seen_offline timestamptz,
    add column if not exists hardware_ids text[],
    add column if not exists cohort_id text,
    add column if not exists golioth_status text;

select rollcall.add_missing_constraint('public.devices', 'c', '{golioth_status}', 'devices_golioth_status_check',
    'check (golioth_status in (''enabled'', ''disabled'', ''suspended''))');
