-- The platform before the extension: its tables, its indexes, its own trigger and its roles, with rows in them.
do $$ begin
    if to_regrole('anon') is null then create role anon nologin; end if;
    if to_regrole('authenticated') is null then create role authenticated nologin; end if;
exception when duplicate_object or unique_violation then null;
end $$;
create schema auth;
create table auth.users (id uuid primary key default gen_random_uuid(), email text);
insert into auth.users (id, email) values ('00000000-0000-0000-0000-0000000000aa', 'ada@example.com');

create type device_status as enum ('online', 'offline', 'warning', 'error');
create table organizations (
    id uuid primary key default gen_random_uuid(),
    name varchar(255) not null,
    slug varchar(100) unique not null,
    description text,
    subscription_tier varchar(50) default 'starter',
    is_active boolean default true,
    settings jsonb default '{}',
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
create table device_integrations (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references organizations (id) on delete cascade,
    integration_type varchar(50) not null,
    name varchar(255) not null,
    api_key_encrypted text,
    project_id varchar(255),
    base_url varchar(500),
    settings jsonb default '{}',
    status varchar(50) default 'active',
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    unique (organization_id, integration_type, name)
);
create table locations (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references organizations (id) on delete cascade,
    name varchar(255) not null,
    address text
);
create table departments (
    id uuid primary key default gen_random_uuid(),
    location_id uuid not null references locations (id) on delete cascade,
    name varchar(255) not null
);
create table devices (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references organizations (id) on delete cascade,
    integration_id uuid references device_integrations (id) on delete set null,
    external_device_id varchar(255),
    name varchar(255) not null,
    device_type varchar(100) not null,
    model varchar(100),
    serial_number varchar(100),
    status device_status default 'offline',
    last_seen timestamptz,
    battery_level int check (battery_level >= 0 and battery_level <= 100),
    signal_strength int check (signal_strength >= -150 and signal_strength <= 0),
    firmware_version varchar(50),
    location_id uuid references locations (id),
    department_id uuid references departments (id),
    metadata jsonb default '{}',
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
create index idx_devices_organization on devices (organization_id);
create index idx_devices_status on devices (status);
create index idx_devices_last_seen on devices (last_seen);

create function touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at = now();
    return new;
end $$;
create trigger devices_updated_at before update on devices for each row execute function touch_updated_at();

alter table devices enable row level security;
create policy members on devices to authenticated using (organization_id = current_setting('app.organization')::uuid);
grant select, insert, update on devices, organizations to authenticated;
-- a hosted platform grants its web roles everything that is created later, too
alter default privileges in schema public grant all on tables to anon, authenticated;

insert into organizations (id, name, slug) values ('00000000-0000-0000-0000-000000000001', 'Acme', 'acme');
insert into device_integrations (id, organization_id, integration_type, name)
values ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', 'golioth', 'Field');
insert into devices
    (id, organization_id, integration_id, name, device_type, serial_number, status, firmware_version, created_at)
values
    ('00000000-0000-0000-0000-000000000011', '00000000-0000-0000-0000-000000000001',
        '00000000-0000-0000-0000-000000000002', 'Pump', 'meter', 'M1', 'online', '1.0.0', '2026-01-01Z'),
    ('00000000-0000-0000-0000-000000000012', '00000000-0000-0000-0000-000000000001', null, 'Valve', 'meter', null,
        'warning', null, '2026-01-01Z');
