-- What the API remembers: who may ask, what was asked once already, and which firmware is on its way.

-- A token is known by the SHA-256 of what its holder sends; the token itself is shown once and kept nowhere.
create table if not exists rollcall.api_tokens (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references public.organizations (id) on delete cascade,
    name text not null,
    hash bytea not null unique,
    scopes text[] not null check (scopes <@ '{read,operate,secrets,admin}'),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
create index if not exists api_tokens_organization_id_idx on rollcall.api_tokens (organization_id);

-- Requests with an Idempotency-Key, for a day. Without a status it is being worked on.
create table if not exists rollcall.api_requests (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    key text not null,
    digest bytea not null,
    status smallint,
    answer bytea,
    created_at timestamptz not null default now(),
    primary key (organization_id, key)
);
create index if not exists api_requests_created_at_idx on rollcall.api_requests (created_at);

-- Firmware that was asked for. `from_version` is what the component ran then; `provider_id` the provider's own id of it.
create table if not exists rollcall.deployments (
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
create index if not exists deployments_device_id_idx on rollcall.deployments (device_id, queued_at desc);
create index if not exists deployments_cohort_id_idx on rollcall.deployments (integration_id, cohort_id)
    where cohort_id is not null;
-- one at a time on a device, and on a cohort
create unique index if not exists deployments_device_active_key
    on rollcall.deployments (device_id) where status in ('queued', 'in_progress');
create unique index if not exists deployments_cohort_active_key
    on rollcall.deployments (integration_id, cohort_id) where status in ('queued', 'in_progress') and cohort_id is not null;

-- The runs over a component's points (see handlers/firmware.py), one row an install; `floating`: it is only the newest
-- observation, and no point. A version that came by a deployment of ours, to the device or to its cohort, is an ota_update. Providers without times of their own and slow clocks date a version up to a
-- day too early; that counts where the component ran another version before.
create or replace function rollcall.installs(ids uuid[], components text[])
returns table (device_id uuid, component text, version text, at bigint, source text, floating boolean)
language sql stable as $$
    select t.device_id, t.component, r.version, r.at, case
        when exists (
            select from (
                select p.* from rollcall.deployments p where p.device_id = t.device_id
                union all
                select p.* from public.devices d
                join rollcall.deployments p on p.integration_id = d.integration_id and p.cohort_id = d.cohort_id
                where d.id = t.device_id
            ) as p
            where p.component = t.component and p.version = r.version
                and p.status in ('queued', 'in_progress', 'succeeded')
                and r.at <= rollcall.micros_of(p.deadline_at)
                and r.at >= rollcall.micros_of(p.queued_at
                    - case when p.from_version is distinct from p.version then interval '1 day' else interval '0' end))
            then 'ota_update'
        when r.before is null then 'factory_default' else 'unknown' end, not r.is_point
    from unnest(ids, components) as t (device_id, component) cross join lateral (
        select p.version, p.at, bool_or(p.is_point) as is_point,
            lag(p.version) over (order by p.at, p.version collate "C") as before
        from (
            select q.version, q.at, true from rollcall.firmware_points q
            where q.device_id = t.device_id and q.component = t.component
            union all
            select f.version, f.at, false from rollcall.device_firmware f
            where f.device_id = t.device_id and f.component = t.component
        ) as p (version, at, is_point)
        group by p.version, p.at
    ) as r where r.before is distinct from r.version
$$;

-- Who did something, as a column of ours may hold it: a user of the platform where the column references its users,
-- else whoever it was.
create or replace function rollcall.actor_of(target regclass, user_column text, user_id uuid, token_id uuid)
returns uuid language sql stable
return case when user_id is not null or not exists (
        select from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any (c.conkey)
        where c.conrelid = target and c.contype = 'f' and a.attname = user_column)
    then coalesce(user_id, token_id) end;
