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

-- What says again what rows say already, later: only clocks move (battery, signal, the heads of firmware), as the apply
-- would move them. Locks `locked`, in one order with what the apply locks after it; returns those of `ids` for which that
-- is all, NULL where a device is gone.
create or replace function rollcall.confirm(
    locked uuid[], ids uuid[], batteries int[], battery_ats bigint[], signals int[], signal_ats bigint[],
    firmware_ids uuid[], components text[], versions text[], firmware_ats bigint[]
) returns uuid[] language plpgsql as $$
declare
    confirmed uuid[];
begin
    if cardinality(rollcall.lock_devices(locked)) > 0 then
        return null;
    end if;
    with heads as materialized (
        select t.*, f.ctid as tid, coalesce(f.version = t.version and not f.floating and exists (
            select 1 from rollcall.firmware_points p where p.device_id = t.id and p.component = t.component
                and p.version = t.version and p.day = t.at / 86400000000 and p.at <= t.at), false) as is_known
        from unnest(firmware_ids, components, versions, firmware_ats) as t (id, component, version, at)
        left join rollcall.device_firmware f on f.device_id = t.id and f.component = t.component
    ),
    same as materialized (
        select t.*, s.ctid as tid
        from unnest(ids, batteries, battery_ats, signals, signal_ats) as t (id, battery, battery_at, signal, signal_at)
        join public.devices d on d.id = t.id join rollcall.device_state s on s.device_id = t.id
        where (t.battery_at is null or (s.battery_at is not null and d.battery_level = t.battery))
            and (t.signal_at is null or (s.signal_at is not null and d.signal_strength = t.signal))
            and t.id not in (select h.id from heads h where not h.is_known)
    ),
    states as (
        update rollcall.device_state s set
            battery_at = greatest(s.battery_at, n.battery_at), signal_at = greatest(s.signal_at, n.signal_at)
        from same n where s.ctid = n.tid and (n.battery_at > s.battery_at or n.signal_at > s.signal_at)
    ),
    firmware as (
        update rollcall.device_firmware f set at = h.at
        from heads h join same n on n.id = h.id where f.ctid = h.tid and h.at > f.at
    )
    select coalesce(array_agg(id), '{}') into confirmed from same;
    return confirmed;
end $$;
