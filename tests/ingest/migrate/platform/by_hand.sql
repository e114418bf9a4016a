-- On top of base.sql: columns and tables begun by hand, with values that the CHECKs of the extension do not allow.
alter table devices add column last_seen_online timestamptz, add column golioth_status text;
update devices set golioth_status = 'paused' where name = 'Pump';
create table device_firmware_history (
    id uuid primary key default gen_random_uuid(),
    device_id uuid not null references devices (id) on delete cascade,
    firmware_version text not null,
    component_type text,
    installed_at timestamptz default now()
);
create table device_credentials (
    id uuid primary key default gen_random_uuid(),
    device_id uuid not null references devices (id) on delete cascade,
    credential_type text not null,
    identity text not null,
    unique (device_id, credential_type)
);
