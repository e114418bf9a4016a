alter table devices
    add column last_seen_online timestamptz,
    add column last_seen_offline timestamptz,
    add column hardware_ids text[] default '{}',
    add column cohort_id text,
    add column golioth_status text check (golioth_status in ('enabled', 'disabled', 'suspended'));
create index idx_devices_last_seen_online on devices (last_seen_online) where last_seen_online is not null;
create index idx_devices_cohort on devices (cohort_id);
create index idx_devices_hardware_ids on devices using gin (hardware_ids);
