-- Reconciliation: which rows a provider's entries mean, and entries that say what they said before.

-- The rows that keys name, oldest first (see handlers/identity.py). A plan made while the table was empty would read all
-- of it for each key, therefore no sequential scans.
create or replace function rollcall.candidates(integration uuid, externals text[], serials text[], hardware jsonb[])
returns table (place bigint, id uuid, how text) language sql stable set enable_seqscan to 'off' as $$
    with keys as materialized (
        select t.*, n.id as integration_id, n.organization_id
        from rows from (pg_catalog.unnest(externals), pg_catalog.unnest(serials), pg_catalog.unnest(hardware))
            with ordinality as t (external, serial, ids, place)
        cross join (select i.id, i.organization_id from public.device_integrations i where i.id = integration) as n
    ),
    named as materialized (
        select k.place, h.name from keys k, pg_catalog.jsonb_array_elements_text(k.ids) as h (name)
    ),
    owners as materialized (
        select d.id, d.created_at, u.name from public.devices d, pg_catalog.unnest(d.hardware_ids) as u (name)
        where d.hardware_ids && (select pg_catalog.array_agg(distinct n.name) from named n)
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
    order by c.place, c.created_at, c.id $$;

-- What an entry of a listing and the row that it means say together: as long as it is the same, both sides agree as they did.
create or replace function rollcall.listed_digest(d public.devices, listed bigint)
returns bigint language sql stable parallel safe as $$
    select pg_catalog.hashtextextended(
        row(listed, d.name, d.serial_number, d.hardware_ids, d.cohort_id, d.golioth_status, d.metadata)::text, 0) $$;

-- A listing's entries that say what they said before are applied straight out of staging. What changes nothing writes nothing.
-- `proves_silence`: the listing is complete, and its provider knows no connection state, so a device that reported nothing until
-- `lag` before the listing was quiet.
create or replace function rollcall.apply_settled(
    integration uuid, run uuid, first bigint, last bigint, lag bigint, offline_after bigint, resolution bigint,
    proves_silence boolean, out settled int, out changed int
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    staged_ids bigint[];
    ids uuid[];
    said rollcall.said[];
    firmware rollcall.said_of_firmware[];
begin
    settled := 0;
    changed := 0;
    select pg_catalog.array_agg(distinct i.device_id) into ids
    from rollcall.reconcile_staging s cross join lateral (
        select x.device_id from rollcall.device_identity x where x.integration_id = integration
            and x.external_device_id = s.external_id and x.listed_digest is not null offset 0) as i
    where s.run_id = run and s.id between first and last and s.digest is not null;
    perform rollcall.lock_devices(ids);
    -- of two entries that mean one row neither is taken: what they say must count together
    select pg_catalog.array_agg(h.id order by h.id), pg_catalog.array_agg(h.device_id order by h.id) into staged_ids, ids
    from (
        select s.id, i.device_id, pg_catalog.count(*) over (partition by i.device_id) as entries,
            i.listed_digest = rollcall.listed_digest(d, s.digest) as agrees
        from rollcall.reconcile_staging s cross join lateral (
            select x.device_id, x.listed_digest from rollcall.device_identity x where x.integration_id = integration
                and x.external_device_id = s.external_id offset 0) as i
        join public.devices d on d.id = i.device_id
        where s.run_id = run and s.id between first and last) as h
    where h.agrees and h.entries = 1;
    if staged_ids is null then
        return;
    end if;
    settled := pg_catalog.cardinality(ids);
    select coalesce(pg_catalog.array_agg((t.device_id, offline_after, g.online_at, g.online_at, null, g.offline_at, null, null,
        null, case when proves_silence then g.listed_at - lag end,
        g.battery, case when g.battery is not null then coalesce(g.battery_at, g.listed_at - lag) end,
        g.signal, case when g.signal is not null then coalesce(g.signal_at, g.listed_at - lag) end,
        false, 'reconcile')::rollcall.said order by t.device_id), '{}') into said
    from rows from (pg_catalog.unnest(staged_ids), pg_catalog.unnest(ids)) as t (id, device_id)
    cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
    where pg_catalog.num_nonnulls(g.online_at, g.offline_at, g.battery, g.signal) > 0;
    select coalesce(pg_catalog.array_agg((t.device_id, v.component, v.version,
        coalesce(v.at, g.listed_at - lag))::rollcall.said_of_firmware), '{}') into firmware
    from rows from (pg_catalog.unnest(staged_ids), pg_catalog.unnest(ids)) as t (id, device_id)
    join pg_catalog.unnest(rollcall.confirm_firmware(run, staged_ids, ids, lag)) as n (device_id)
        on n.device_id = t.device_id
    cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
    cross join lateral rows from (pg_catalog.unnest(g.components), pg_catalog.unnest(g.versions), pg_catalog.unnest(g.version_ats)) as v (component, version, at);
    perform rollcall.apply(said, '{}', firmware, '{}', '{}', '{}', 0, resolution);
    select pg_catalog.count(*) into changed from pg_catalog.unnest(ids) as t (id) cross join lateral (
        select x.updated_at from public.devices x where x.id = t.id offset 0) as d
    where d.updated_at = pg_catalog.now();
    delete from rollcall.reconcile_staging s using pg_catalog.unnest(staged_ids) as t (id)
    where s.run_id = run and s.id = t.id;
end $$;

-- Move the clocks of versions that the devices are known to run, and return the devices with others. A version that somebody has
-- edited in the row is none of these.
create or replace function rollcall.confirm_firmware(run uuid, staged_ids bigint[], ids uuid[], lag bigint)
returns uuid[] language plpgsql as $$
declare
    news uuid[];
begin
    with said as materialized (
        select t.device_id, f.ctid as tid, f.at as old_at, v.at, coalesce(f.version = v.version and not f.floating
            and (v.component <> 'main' or d.firmware_version = v.version)
            and exists (select 1 from rollcall.firmware_points p where p.device_id = t.device_id
                and p.component = v.component and p.version = v.version and p.day = v.at / 86400000000
                and p.at <= v.at), false) as is_same
        from rows from (pg_catalog.unnest(staged_ids), pg_catalog.unnest(ids)) as t (id, device_id)
        cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
        cross join lateral (select x.firmware_version from public.devices x where x.id = t.device_id offset 0) as d
        cross join lateral (select u.component, u.version, coalesce(u.at, g.listed_at - lag) as at
            from rows from (pg_catalog.unnest(g.components), pg_catalog.unnest(g.versions), pg_catalog.unnest(g.version_ats)) as u (component, version, at)) as v
        left join lateral (select x.*, x.ctid from rollcall.device_firmware x
            where x.device_id = t.device_id and x.component = v.component offset 0) as f on true
    ),
    moved as (
        update rollcall.device_firmware f set at = n.at from said n where f.ctid = n.tid and n.is_same and n.at > n.old_at
    )
    select coalesce(pg_catalog.array_agg(distinct device_id) filter (where not is_same), '{}') into news from said;
    return news;
end $$;
