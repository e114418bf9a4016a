-- Most entries of a listing say what they said before, or that the device was seen again: such are applied set-wise out of
-- staging, without being decoded (see ingest/reconcile/settled.py). `digest` tells what was said besides: NULL where the
-- facts have no time, or where something was wrong with the entry. An `_at` that is NULL means that the provider gave none.
alter table rollcall.reconcile_staging
    add column if not exists digest bigint,
    add column if not exists online_at bigint,
    add column if not exists offline_at bigint,
    add column if not exists battery int,
    add column if not exists battery_at bigint,
    add column if not exists signal int,
    add column if not exists signal_at bigint,
    add column if not exists components text[],
    add column if not exists versions text[],
    add column if not exists version_ats bigint[];

-- Apply those entries with an id from `first` to `last` whose facts were applied before, as they are, and on which both
-- sides still agree. What the rows say already moves clocks only; the rest goes through rollcall.apply. They leave staging.
create or replace function rollcall.apply_settled(
    integration uuid, run uuid, first bigint, last bigint, lag bigint, offline_after bigint, resolution bigint,
    out settled int, out changed int
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    staged_ids bigint[];
    ids uuid[];
    said_ids uuid[];
    firmware_ids uuid[];
begin
    settled := 0;
    changed := 0;
    select array_agg(distinct i.device_id) into ids
    from rollcall.reconcile_staging s cross join lateral (
        select x.device_id from rollcall.device_identity x where x.integration_id = integration
            and x.external_device_id = s.external_id and x.listed_digest is not null offset 0) as i
    where s.run_id = run and s.id between first and last and s.digest is not null;
    perform rollcall.lock_devices(ids);
    -- of two entries that mean one row neither is taken: what they say must count together
    select array_agg(h.id order by h.id), array_agg(h.device_id order by h.id) into staged_ids, ids
    from (
        select s.id, i.device_id, count(*) over (partition by i.device_id) as entries,
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
    settled := cardinality(ids);
    said_ids := rollcall.confirm_values(run, staged_ids, ids, lag);
    firmware_ids := rollcall.confirm_firmware(run, staged_ids, ids, lag);
    if cardinality(said_ids) + cardinality(firmware_ids) > 0 then
        perform rollcall.apply_staged(run, staged_ids, ids, said_ids, firmware_ids, lag, offline_after, resolution);
        select count(*) into changed from unnest(ids) as t (id) cross join lateral (
            select x.updated_at from public.devices x where x.id = t.id offset 0) as d
        where d.updated_at = now();
    end if;
    delete from rollcall.reconcile_staging s using unnest(staged_ids) as t (id) where s.run_id = run and s.id = t.id;
end $$;

-- Move the clocks of batteries and signals that are as they are listed; returns the devices about which more is said.
create or replace function rollcall.confirm_values(run uuid, staged_ids bigint[], ids uuid[], lag bigint)
returns uuid[] language plpgsql as $$
declare
    news uuid[];
begin
    with said as materialized (
        select t.device_id, s.ctid as tid, s.battery_at as old_battery_at, s.signal_at as old_signal_at,
            greatest(s.battery_at, case when g.battery is not null then coalesce(g.battery_at, g.listed_at - lag) end)
                as battery_at,
            greatest(s.signal_at, case when g.signal is not null then coalesce(g.signal_at, g.listed_at - lag) end)
                as signal_at,
            coalesce((g.online_at is null or (g.online_at >= s.alive_from and g.online_at <= s.online_at))
                and (g.offline_at is null or g.offline_at <= s.offline_at)
                and (g.battery is null or (s.battery_at is not null and d.battery_level = g.battery))
                and (g.signal is null or (s.signal_at is not null and d.signal_strength = g.signal)), false) as is_same
        from unnest(staged_ids, ids) as t (id, device_id)
        cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
        cross join lateral (select x.battery_level, x.signal_strength from public.devices x
            where x.id = t.device_id offset 0) as d
        left join lateral (select x.*, x.ctid from rollcall.device_state x
            where x.device_id = t.device_id offset 0) as s on true
        where num_nonnulls(g.online_at, g.offline_at, g.battery, g.signal) > 0
    ),
    moved as (
        update rollcall.device_state s set battery_at = n.battery_at, signal_at = n.signal_at
        from said n where s.ctid = n.tid and n.is_same
            and (n.battery_at > n.old_battery_at or n.signal_at > n.old_signal_at)
    )
    select coalesce(array_agg(device_id) filter (where not is_same), '{}') into news from said;
    return news;
end $$;

-- The same for versions: one that the device is known to run moves its clock; returns the devices with others.
create or replace function rollcall.confirm_firmware(run uuid, staged_ids bigint[], ids uuid[], lag bigint)
returns uuid[] language plpgsql as $$
declare
    news uuid[];
begin
    with said as materialized (
        select t.device_id, f.ctid as tid, f.at as old_at, v.at, coalesce(f.version = v.version and not f.floating
            and exists (select 1 from rollcall.firmware_points p where p.device_id = t.device_id
                and p.component = v.component and p.version = v.version and p.day = v.at / 86400000000
                and p.at <= v.at), false) as is_same
        from unnest(staged_ids, ids) as t (id, device_id)
        cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
        cross join lateral (select u.component, u.version, coalesce(u.at, g.listed_at - lag) as at
            from unnest(g.components, g.versions, g.version_ats) as u (component, version, at)) as v
        left join lateral (select x.*, x.ctid from rollcall.device_firmware x
            where x.device_id = t.device_id and x.component = v.component offset 0) as f on true
    ),
    moved as (
        update rollcall.device_firmware f set at = n.at from said n where f.ctid = n.tid and n.is_same and n.at > n.old_at
    )
    select coalesce(array_agg(distinct device_id) filter (where not is_same), '{}') into news from said;
    return news;
end $$;

-- What is news in settled entries, by the rules of every other observation.
create or replace function rollcall.apply_staged(
    run uuid, staged_ids bigint[], ids uuid[], said_ids uuid[], firmware_ids uuid[], lag bigint, offline_after bigint,
    resolution bigint
) returns void language plpgsql as $$
begin
    perform rollcall.apply(
        coalesce(p.ids, '{}'), p.after_settings, p.online_ats, p.online_ats, '{}', p.offline_ats, '{}', '{}',
        p.batteries, p.battery_ats, p.signals, p.signal_ats, p.sources,
        '{}', '{}', '{}', '{}', '{}', '{}', '{}',
        coalesce(f.ids, '{}'), f.components, f.versions, f.ats,
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', 0, resolution)
    from (
        select array_agg(t.device_id) as ids, array_agg(offline_after) as after_settings,
            array_agg(g.online_at) as online_ats,
            array_agg(case when o.offline_at >= g.offline_at then null else g.offline_at end) as offline_ats,
            array_agg(g.battery) as batteries,
            array_agg(case when g.battery is not null then coalesce(g.battery_at, g.listed_at - lag) end) as battery_ats,
            array_agg(g.signal) as signals,
            array_agg(case when g.signal is not null then coalesce(g.signal_at, g.listed_at - lag) end) as signal_ats,
            array_agg('reconcile'::text) as sources
        from unnest(staged_ids, ids) as t (id, device_id)
        join unnest(said_ids) as n (device_id) on n.device_id = t.device_id
        cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
        -- an offline time that is known already would only keep a device from the slim pass of rollcall.apply
        left join lateral (select x.offline_at from rollcall.device_state x
            where x.device_id = t.device_id offset 0) as o on true
    ) as p, (
        select array_agg(t.device_id) as ids, array_agg(v.component) as components, array_agg(v.version) as versions,
            array_agg(coalesce(v.at, g.listed_at - lag)) as ats
        from unnest(staged_ids, ids) as t (id, device_id)
        join unnest(firmware_ids) as n (device_id) on n.device_id = t.device_id
        cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
        cross join lateral unnest(g.components, g.versions, g.version_ats) as v (component, version, at)
    ) as f;
end $$;
