-- Reconciliation: each run with its counts, and what a run has listed and not applied yet.
create table if not exists rollcall.reconcile_runs (
    id uuid primary key,
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    trigger text not null,
    status text not null default 'running',
    phase text not null default 'listing',
    dry_run boolean not null default false,
    complete boolean not null default true,
    holder text not null,
    cursor text,
    started_at timestamptz not null default clock_timestamp(),
    moved_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    listed bigint not null default 0,
    matched bigint not null default 0,
    created bigint not null default 0,
    changed bigint not null default 0,
    unchanged bigint not null default 0,
    unknown bigint not null default 0,
    missing bigint not null default 0,
    conflicts bigint not null default 0,
    pushed bigint not null default 0,
    detail text not null default '',
    errors jsonb not null default '[]'
);
create index if not exists reconcile_runs_started_at_idx on rollcall.reconcile_runs (integration_id, started_at desc);

-- No foreign key: it would cost more than the rows do. Housekeeping deletes what belongs to no run that goes on.
create table if not exists rollcall.reconcile_staging (
    run_id uuid not null,
    id bigint generated always as identity,
    external_id text not null,
    serial_number text,
    listed_at bigint not null,
    device json not null,
    primary key (run_id, id)
);

-- unlisted_at: since when a listing has not had a device; what was missing before does not make a listing suspicious again.
-- listed_digest: of an entry that was applied, with the fields that both sides then agreed on.
alter table rollcall.device_identity
    add column if not exists unlisted_at timestamptz,
    add column if not exists listed_digest bigint;

create or replace function rollcall.listed_digest(d public.devices, listed bigint) returns bigint
language sql stable parallel safe as $$
    select hashtextextended(
        row(listed, d.name, d.serial_number, d.hardware_ids, d.cohort_id, d.golioth_status, d.metadata)::text, 0)
$$;

-- Each look at this index would read its whole list of what is new: thousands of looks for a listing of new devices.
alter index if exists public.devices_hardware_ids_idx set (fastupdate = off);

-- The rows that keys name, oldest first (see handlers/identity.py). A plan made while the table was empty would read all
-- of it for each key, therefore no sequential scans.
create or replace function rollcall.candidates(
    integration uuid, externals text[], serials text[], hardware jsonb[]
) returns table (place bigint, id uuid, how text) language sql stable set enable_seqscan = off as $$
    with keys as materialized (
        select t.*, n.id as integration_id, n.organization_id
        from unnest(externals, serials, hardware) with ordinality as t (external, serial, ids, place)
        cross join (select i.id, i.organization_id from public.device_integrations i where i.id = integration) as n
    ),
    named as materialized (
        select k.place, h.name from keys k, jsonb_array_elements_text(k.ids) as h (name)
    ),
    owners as materialized (
        select d.id, d.created_at, u.name from public.devices d, unnest(d.hardware_ids) as u (name)
        where d.hardware_ids && (select array_agg(distinct n.name) from named n)
            -- not "=": its index would be preferred
            and d.organization_id is not distinct from (select k.organization_id from keys k limit 1)
    )
    select c.place, c.id, c.how from (
        select k.place, d.id, d.created_at, 'external' as how from keys k join public.devices d
            on d.integration_id = k.integration_id and d.external_device_id = k.external
        union all
        select k.place, d.id, d.created_at, 'serial' from keys k join public.devices d
            on d.serial_number = k.serial and d.organization_id = k.organization_id
        union
        select n.place, o.id, o.created_at, 'hardware' from named n join owners o on o.name = n.name
    ) as c
    order by c.place, c.created_at, c.id
$$;
