-- Firmware: what each device runs, what it ran, and what is on its way to it.

-- The newest version of each component.
create table rollcall.device_firmware (
    device_id uuid not null references public.devices (id) on delete cascade,
    component text not null,
    version text not null,
    at bigint not null,
    floating boolean not null default false,
    primary key (device_id, component)
) with (fillfactor = 70);

-- Every version seen, once a day: what the history is derived from.
create table rollcall.firmware_points (
    device_id uuid not null references public.devices (id) on delete cascade,
    component text not null,
    version text not null,
    day int not null,
    at bigint not null,
    primary key (device_id, component, version, day)
);

-- Firmware that was asked for. `from_version` is what the component ran then; `provider_id` the provider's own id of it.
create table rollcall.deployments (
    id uuid primary key,
    organization_id uuid not null references public.organizations (id) on delete cascade,
    device_id uuid not null references public.devices (id) on delete cascade,
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    artifact_id uuid not null,
    component text not null,
    version text not null,
    from_version text,
    status text not null default 'queued'
        check (status in ('queued', 'in_progress', 'succeeded', 'failed', 'cancelled')),
    provider_id text,
    cohort_id text,
    cohort_size int,
    requested_by text not null,
    detail text not null default '',
    queued_at timestamptz not null default clock_timestamp(),
    deadline_at timestamptz not null,
    asked_at timestamptz,
    finished_at timestamptz
);
create index deployments_device_id_idx on rollcall.deployments (device_id, queued_at desc);
create index deployments_cohort_id_idx on rollcall.deployments (integration_id, cohort_id)
    where cohort_id is not null;

-- one at a time on a device, and on a cohort
create unique index deployments_device_active_key
    on rollcall.deployments (device_id) where status in ('queued', 'in_progress');
create unique index deployments_cohort_active_key
    on rollcall.deployments (integration_id, cohort_id) where status in ('queued', 'in_progress') and cohort_id is not null;
