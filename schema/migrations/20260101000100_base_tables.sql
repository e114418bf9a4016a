-- The tables of the platform. On the platform's own database they are there and nothing here changes them.
do $$
declare
    missing text[] := array(
        select t from unnest(array['organizations', 'device_integrations', 'locations', 'departments', 'devices']) as t
        where to_regclass('public.' || t) is null);
    created text;
begin
    if to_regtype('public.device_status') is null then
        create type public.device_status as enum ('online', 'offline', 'warning', 'error');
    end if;

    create table if not exists public.organizations (
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

    create table if not exists public.device_integrations (
        id uuid primary key default gen_random_uuid(),
        organization_id uuid not null references public.organizations (id) on delete cascade,
        integration_type varchar(50) not null,
        name varchar(255) not null,
        api_key_encrypted text,
        project_id varchar(255),
        base_url varchar(500),
        settings jsonb default '{}',
        status varchar(50) default 'active',
        webhook_enabled boolean default false,
        webhook_secret text,
        created_at timestamptz default now(),
        updated_at timestamptz default now(),
        unique (organization_id, integration_type, name)
    );

    create table if not exists public.locations (
        id uuid primary key default gen_random_uuid(),
        organization_id uuid not null references public.organizations (id) on delete cascade,
        name varchar(255) not null,
        created_at timestamptz default now(),
        updated_at timestamptz default now()
    );

    create table if not exists public.departments (
        id uuid primary key default gen_random_uuid(),
        location_id uuid not null references public.locations (id) on delete cascade,
        name varchar(255) not null,
        created_at timestamptz default now(),
        updated_at timestamptz default now()
    );

    -- fillfactor leaves room for HOT updates; nothing that messages update is indexed
    create table if not exists public.devices (
        id uuid primary key default gen_random_uuid(),
        organization_id uuid not null references public.organizations (id) on delete cascade,
        integration_id uuid references public.device_integrations (id) on delete set null,
        external_device_id varchar(255),
        name varchar(255) not null,
        device_type varchar(100) not null,
        model varchar(100),
        serial_number varchar(100),
        status public.device_status default 'offline',
        last_seen timestamptz,
        battery_level int check (battery_level between 0 and 100),
        signal_strength int check (signal_strength between -150 and 0),
        firmware_version varchar(50),
        location_id uuid references public.locations (id) on delete set null,
        department_id uuid references public.departments (id) on delete set null,
        metadata jsonb default '{}',
        created_at timestamptz default now(),
        updated_at timestamptz default now()
    ) with (fillfactor = 70);

    foreach created in array missing loop
        perform rollcall.close_table(('public.' || created)::regclass);
    end loop;
end $$;
