-- The sweep and the listings of providers say what they know by the same rule (20261201000130_one_rule.sql).

-- Devices that were quiet for so long that they may be silent, with how they are heard: [since, until).
drop function if exists rollcall.silent(uuid[], bigint, bigint);
create or replace function rollcall.quiet_devices(ids uuid[], default_after bigint, now_at bigint)
returns table (id uuid, offline_after bigint, since bigint, until bigint) language sql stable as $$
    select q.id, q.offline_after, q.since, q.until from (
        select d.id, o.setting as offline_after, hearing.since, hearing.until,
            greatest(coalesce(s.online_at, s.snapshot_online_at, s.offline_at, s.stream_offline_at,
                rollcall.micros_of(coalesce(d.last_seen_online, d.last_seen, d.created_at))), hearing.since)
                + rollcall.offline_after_of(d.metadata, o.setting) as silent_at
        from pg_catalog.unnest(ids) as c (id)
        cross join lateral (select x.* from public.devices x where x.id = c.id offset 0) as d
        join public.device_integrations n on n.id = d.integration_id and n.status = 'active'
        cross join lateral (select coalesce((case when pg_catalog.jsonb_typeof(n.settings -> 'offline_after_s') = 'number'
            then (n.settings ->> 'offline_after_s')::numeric end * 1000000)::bigint, default_after) as setting) as o
        left join lateral (select x.* from rollcall.device_state x where x.device_id = d.id offset 0) as s on true
        join lateral (select pg_catalog.max(m.heard_since) as since, pg_catalog.min(m.heard_until) as until,
            pg_catalog.min(m.heard_until + m.fresh_for) as stale_at
            from rollcall.mqtt_sessions m where m.integration_id = n.id) as hearing on hearing.stale_at >= now_at
        where d.status = 'online'
    ) as q where q.silent_at < q.until
$$;

create or replace function rollcall.sweep(after_id uuid, chunk int, default_after bigint, now_at bigint)
returns table (last_id uuid, scanned int, silenced int) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    ids uuid[];
    said rollcall.said[];
begin
    select pg_catalog.array_agg(c.id), pg_catalog.count(*) into ids, scanned from (
        select d.id from public.devices d where d.id > after_id order by d.id limit chunk) as c;
    last_id := ids[pg_catalog.cardinality(ids)];
    select pg_catalog.array_agg(q.id order by q.id), pg_catalog.array_agg((q.id, q.offline_after, null, null, null, null,
        null, null, q.since, q.until, null, null, null, null, false, 'sweep')::rollcall.said order by q.id)
    into ids, said
    from rollcall.quiet_devices(ids, default_after, now_at) as q;
    silenced := coalesce(pg_catalog.cardinality(said), 0);
    if silenced > 0 then
        perform rollcall.lock_devices(ids);
        perform rollcall.record_from_now();
        perform rollcall.apply_presence(said, null, '{}', 0);
    end if;
    return next;
end $$;

drop function if exists rollcall.apply_settled(uuid, uuid, bigint, bigint, bigint, bigint, bigint);
drop function if exists rollcall.apply_staged(uuid, bigint[], uuid[], uuid[], uuid[], bigint, bigint, bigint);
drop function if exists rollcall.confirm_values(uuid, bigint[], uuid[], bigint);

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
