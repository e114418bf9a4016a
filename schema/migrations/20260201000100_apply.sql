-- The apply: what a batch says about devices becomes rows, in one call and so in one transaction and one round trip.

create or replace function rollcall.timestamp_of(micros bigint) returns timestamptz
language sql stable parallel safe
return timestamptz '1970-01-01 00:00:00+00' + micros * interval '1 microsecond';

create or replace function rollcall.micros_of(at timestamptz) returns bigint
language sql stable parallel safe
return (extract(epoch from at) * 1000000)::bigint;

-- The runs of a device (see handlers/runs.py): known runs united with new evidence. Ranges are [first, silence), so
-- the upper bound of each but the newest is a silence; one that begins at or after heard_until is bridged.
create or replace function rollcall.united_runs(
    known int8multirange, evidence int8multirange, offline_after bigint, heard_until bigint
) returns int8multirange language plpgsql immutable as $$
declare
    covered int8multirange := known;
    run int8range;
    before int8range;
    result int8multirange := '{}';
begin
    for run in select unnest(evidence) loop
        -- evidence is [first, last] inclusive, stored as [first, last + 1)
        covered := covered + int8multirange(int8range(lower(run), upper(run) - 1 + offline_after));
    end loop;
    for run in select r from unnest(covered) as r order by lower(r) loop
        if before is not null and (heard_until is null or upper(before) >= heard_until) then
            run := int8range(lower(before), upper(run));
        elsif before is not null then
            result := result + int8multirange(before);
        end if;
        before := run;
    end loop;
    return result + int8multirange(before);
end $$;

create or replace function rollcall.newest_run(runs int8multirange) returns int8range
language sql immutable parallel safe
return (select r from unnest(runs) as r order by lower(r) desc limit 1);

create or replace function rollcall.trimmed_runs(runs int8multirange, keep int) returns int8multirange
language sql immutable parallel safe
return (select range_agg(r) from (select r from unnest(runs) as r order by lower(r) desc limit keep) as newest);

create or replace function rollcall.offline_after_of(metadata jsonb, setting bigint) returns bigint
language sql immutable parallel safe
return case when jsonb_typeof(metadata -> 'offline_after_s') = 'number'
    then greatest(10, least(31536000, (metadata ->> 'offline_after_s')::numeric))::bigint * 1000000
    else setting end;

create or replace function rollcall.status_of(
    online_at bigint, offline_at bigint, silent_at bigint, snapshot_online_at bigint, snapshot_offline_at bigint
) returns public.device_status language sql immutable parallel safe
return case
    when online_at is null and offline_at is null then
        case when snapshot_offline_at is not null or silent_at is not null then 'offline'::public.device_status
            when snapshot_online_at is not null then 'online'::public.device_status end
    when online_at is null or silent_at is not null or offline_at >= online_at
        or snapshot_offline_at > online_at then 'offline'::public.device_status
    else 'online'::public.device_status end;

-- The larger of offline_at and the last true silence; a silence is none where the device was known to be offline.
create or replace function rollcall.last_offline(
    offline_at bigint, silent_at bigint, alive_before int8multirange, offline_after bigint
) returns bigint language sql immutable parallel safe
return case
    when silent_at is not null then silent_at
    when alive_before is null or isempty(alive_before) then offline_at
    when offline_at is null or offline_at < upper(alive_before) - offline_after then upper(alive_before)
    else offline_at end;

-- Lock the devices of a batch in one order and return the ids that are not there (any more).
create or replace function rollcall.lock_devices(ids uuid[]) returns uuid[] language plpgsql as $$
declare
    found_count int;
begin
    perform 1 from public.devices d where d.id = any (ids) order by d.id for no key update;
    get diagnostics found_count = row_count;
    if found_count = cardinality(ids) then
        return '{}';
    end if;
    return array(select i from unnest(ids) as i where not exists (select 1 from public.devices d where d.id = i));
end $$;

-- Give devices that were never heard their clocks, from what their rows say. The caller has locked the rows.
create or replace function rollcall.seed_states(ids uuid[]) returns void language plpgsql as $$
begin
    insert into rollcall.device_state (device_id, online_at, alive_from, offline_at, battery_at, signal_at)
    select d.id, o.online_at, o.online_at,
        rollcall.micros_of(coalesce(d.last_seen_offline, case when d.status = 'offline' then d.last_seen end)),
        case when d.battery_level is not null then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end,
        case when d.signal_strength is not null then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end
    from public.devices d cross join lateral (select rollcall.micros_of(coalesce(d.last_seen_online,
        case when d.status <> 'offline' then coalesce(d.last_seen, d.created_at) end)) as online_at) as o
    -- a scalar subquery and not `not exists`: an index lookup each, never a scan of the whole table
    where d.id = any (ids) and (select s.device_id from rollcall.device_state s where s.device_id = d.id) is null
    order by d.id
    on conflict do nothing;
end $$;

-- Whether one connection event is later than another (see handlers/sequences.py).
create or replace function rollcall.follows(
    at bigint, place text, online boolean, other_at bigint, other_place text, other_online boolean, order_window bigint
) returns boolean language sql immutable parallel safe
return case when abs(at - other_at) > order_window then at > other_at
    else (place collate "C", at, not online) > (other_place collate "C", other_at, not other_online) end;

-- Unite streams with what is known of them, and return when each of `ids` was last offline by its streams: 0 where they
-- say nothing of it, NULL where none of them came.
create or replace function rollcall.apply_streams(
    ids uuid[], stream_ids uuid[], windows bigint[], connected_ats bigint[], disconnected_ats bigint[],
    head_onlines boolean[], head_ats bigint[], head_orders text[]
) returns bigint[] language plpgsql as $$
begin
    insert into rollcall.device_streams as s
        (device_id, order_window, connected_at, disconnected_at, head_online, head_at, head_order)
    select * from unnest(stream_ids, windows, connected_ats, disconnected_ats, head_onlines, head_ats, head_orders)
    order by 1, 2
    on conflict (device_id, order_window) do update set
        connected_at = greatest(s.connected_at, excluded.connected_at),
        disconnected_at = greatest(s.disconnected_at, excluded.disconnected_at),
        (head_online, head_at, head_order) = (select case when f then excluded.head_online else s.head_online end,
            case when f then excluded.head_at else s.head_at end,
            case when f then excluded.head_order else s.head_order end
            from (select rollcall.follows(excluded.head_at, excluded.head_order, excluded.head_online,
                s.head_at, s.head_order, s.head_online, s.order_window) as f) as later);
    return array(
        select case when t.id = any (stream_ids) then coalesce((
            select max(case when s.disconnected_at is null then null
                when s.head_online then least(s.disconnected_at, s.head_at - 1)
                else greatest(s.disconnected_at, s.connected_at) end)
            from rollcall.device_streams s where s.device_id = t.id), 0) end
        from unnest(ids) with ordinality as t (id, place) order by t.place);
end $$;

-- The common case in one slim pass: a device that is online goes on being online, and measured something. Everything
-- else is left to apply_presence, whose rules are these: returns which elements are done. Rows are joined by their ctid,
-- which stands still because lock_devices has locked them; `offset 0` keeps a lookup a lookup, also in a plan that was
-- made while the table was empty.
create or replace function rollcall.apply_steady(
    ids uuid[], after_settings bigint[], online_first bigint[], online_last bigint[], online_runs text[],
    offline_ats bigint[], snapshot_online_ats bigint[], snapshot_offline_ats bigint[],
    batteries int[], battery_ats bigint[], signals int[], signal_ats bigint[], stream_offline_ats bigint[],
    resolution bigint
) returns boolean[] language plpgsql as $$
declare
    done boolean[];
begin
    with seen as materialized (
        select i.place, d.ctid as device_tid, s.ctid as state_tid, d.last_seen_online as was_online,
            d.battery_level, d.signal_strength, i.battery, i.signal,
            s.online_at as old_online_at, s.battery_at as stored_battery_at, s.signal_at as stored_signal_at,
            greatest(s.online_at, i.l) as online_at,
            greatest(o.battery_at, i.battery_at) as battery_at, greatest(o.signal_at, i.signal_at) as signal_at,
            (i.battery_at, i.battery) > (o.battery_at, d.battery_level)
                or (i.battery_at is not null and o.battery_at is null) as battery_newer,
            (i.signal_at, i.signal) > (o.signal_at, d.signal_strength)
                or (i.signal_at is not null and o.signal_at is null) as signal_newer,
            coalesce(i.f is not null and i.runs is null and i.off_at is null and i.son is null and i.soff is null
                and i.stream_off is null and d.status <> 'offline' and s.silent_at is null
                and i.f >= s.alive_from and i.f <= s.online_at + o.after
                and not coalesce(greatest(s.offline_at, s.stream_offline_at) >= s.online_at, false)
                and (s.snapshot_offline_at is null or s.snapshot_offline_at <= s.online_at)
                and d.last_seen_offline is not distinct from
                    rollcall.timestamp_of(rollcall.last_offline(greatest(s.offline_at, s.stream_offline_at), null,
                        s.alive_before, o.after)), false) as is_steady
        from unnest(ids, after_settings, online_first, online_last, online_runs, offline_ats, snapshot_online_ats,
                snapshot_offline_ats, batteries, battery_ats, signals, signal_ats, stream_offline_ats)
            with ordinality as i (id, after_setting, f, l, runs, off_at, son, soff, battery, battery_at, signal, signal_at, stream_off, place)
        cross join lateral (select x.*, x.ctid from public.devices x where x.id = i.id offset 0) as d
        left join lateral (select x.*, x.ctid from rollcall.device_state x where x.device_id = i.id offset 0) as s on true
        cross join lateral (select rollcall.offline_after_of(d.metadata, i.after_setting) as after,
            coalesce(s.battery_at, case when d.battery_level is not null
                then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end) as battery_at,
            coalesce(s.signal_at, case when d.signal_strength is not null
                then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end) as signal_at) as o
    ),
    steady as (select * from seen where is_steady),
    devices_written as (
        update public.devices d set
            last_seen = greatest(d.last_seen, rollcall.timestamp_of(n.online_at)),
            last_seen_online = rollcall.timestamp_of(n.online_at),
            battery_level = case when n.battery_newer then n.battery else d.battery_level end,
            signal_strength = case when n.signal_newer then n.signal else d.signal_strength end,
            updated_at = now()
        from steady n
        where d.ctid = n.device_tid and (n.was_online is null
            or rollcall.timestamp_of(n.online_at - resolution) > n.was_online
            or (n.battery_newer and n.battery is distinct from n.battery_level)
            or (n.signal_newer and n.signal is distinct from n.signal_strength))
    ),
    state_written as (
        update rollcall.device_state s set
            online_at = n.online_at, battery_at = n.battery_at, signal_at = n.signal_at
        from steady n
        where s.ctid = n.state_tid and (n.online_at > n.old_online_at
            or n.battery_at is distinct from n.stored_battery_at or n.signal_at is distinct from n.stored_signal_at)
    )
    select array_agg(is_steady order by place) into done from seen;
    return done;
end $$;

-- Presence, battery and signal. Arrays are parallel, one element a device; times in microseconds.
create or replace function rollcall.apply_presence(
    ids uuid[], after_settings bigint[], online_first bigint[], online_last bigint[], online_runs text[],
    offline_ats bigint[], snapshot_online_ats bigint[], snapshot_offline_ats bigint[],
    batteries int[], battery_ats bigint[], signals int[], signal_ats bigint[], stream_offline_ats bigint[],
    sources text[], resolution bigint
) returns void language plpgsql as $$
begin
    with i as materialized (
        select * from unnest(ids, after_settings, online_first, online_last, online_runs, offline_ats, snapshot_online_ats,
            snapshot_offline_ats, batteries, battery_ats, signals, signal_ats, stream_offline_ats, sources)
        as t (id, after_setting, f, l, runs, off_at, son, soff, battery, battery_at, signal, signal_at, stream_off, source)
    ),
    old as (
        select i.*, d.ctid as device_tid, s.ctid as state_tid, d.status, d.last_seen, d.last_seen_online, d.last_seen_offline, d.battery_level, d.signal_strength,
            d.integration_id, rollcall.offline_after_of(d.metadata, i.after_setting) as after,
            s.online_at, greatest(s.offline_at, s.stream_offline_at) as offline_at, s.alive_from, s.alive_before, s.silent_at,
            greatest(s.offline_at, i.off_at) as new_plain_offline_at,
            case when i.stream_off is null then s.stream_offline_at else nullif(i.stream_off, 0) end as new_stream_offline_at,
            s.snapshot_online_at, s.snapshot_offline_at,
            coalesce(s.battery_at, case when d.battery_level is not null
                then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end) as old_battery_at,
            coalesce(s.signal_at, case when d.signal_strength is not null
                then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end) as old_signal_at,
            s.battery_at as stored_battery_at, s.signal_at as stored_signal_at
        from i
        cross join lateral (select x.*, x.ctid from public.devices x where x.id = i.id offset 0) as d
        cross join lateral (select x.*, x.ctid from rollcall.device_state x where x.device_id = i.id offset 0) as s
    ),
    ranged as (
        select old.*, case
            -- nothing new, or the newest run goes on (the common case), or the first evidence of all
            when f is null or (runs is null and (online_at is null or (silent_at is null
                and f >= alive_from and f <= online_at + after))) then null
            else rollcall.united_runs(
                coalesce(alive_before, '{}') + case when online_at is null then '{}' else
                    int8multirange(int8range(alive_from, coalesce(silent_at, case
                        when offline_at >= online_at then online_at + after
                        else greatest(online_at, hearing.since) + after end))) end,
                coalesce(runs::int8multirange, int8multirange(int8range(f, l, '[]'))), after, hearing.until)
            end as united
        from old left join lateral (
            select max(m.heard_since) as since, min(m.heard_until) as until
            from rollcall.mqtt_sessions m where m.integration_id = old.integration_id
        ) as hearing on old.f is not null and (old.runs is not null or old.silent_at is not null or old.f < old.alive_from or old.f > old.online_at + old.after)
    ),
    new as materialized (
        select ranged.*,
            greatest(online_at, l) as new_online_at,
            greatest(new_plain_offline_at, new_stream_offline_at) as new_offline_at,
            case when united is null then coalesce(alive_from, f) else lower(rollcall.newest_run(united)) end as new_alive_from,
            case when united is null then alive_before
                else rollcall.trimmed_runs(united - int8multirange(rollcall.newest_run(united)), 16)
                end as new_alive_before,
            case when silent_at is null or greatest(online_at, l) is distinct from online_at
                or greatest(new_plain_offline_at, new_stream_offline_at) >= coalesce(online_at, 0)
                or greatest(snapshot_offline_at, soff) > online_at then null else silent_at end as new_silent_at,
            least(snapshot_online_at, son) as new_son, greatest(snapshot_offline_at, soff) as new_soff,
            (battery_at, battery) > (old_battery_at, battery_level)
                or (battery_at is not null and old_battery_at is null) as battery_newer,
            (signal_at, signal) > (old_signal_at, signal_strength)
                or (signal_at is not null and old_signal_at is null) as signal_newer
        from ranged
    ),
    decided as materialized (
        select new.*,
            rollcall.last_offline(new_offline_at, new_silent_at, new_alive_before, after) as new_last_offline,
            case
                when new_online_at is not distinct from online_at and new_offline_at is not distinct from offline_at
                    and new_soff is not distinct from snapshot_offline_at and new_son is not distinct from
                    snapshot_online_at then status
                when status in ('warning', 'error') and not coalesce(new_offline_at > coalesce(offline_at, 0)
                    and new_offline_at >= coalesce(new_online_at, 0), false) then status
                else coalesce(rollcall.status_of(new_online_at, new_offline_at, new_silent_at, new_son, new_soff), status)
                end as new_status
        from new
    ),
    devices_written as (
        update public.devices d set
            status = n.new_status,
            last_seen = case when n.new_online_at is not null
                then greatest(d.last_seen, rollcall.timestamp_of(n.new_online_at)) else d.last_seen end,
            last_seen_online = coalesce(rollcall.timestamp_of(n.new_online_at), d.last_seen_online),
            last_seen_offline = rollcall.timestamp_of(n.new_last_offline),
            battery_level = case when n.battery_newer then n.battery else d.battery_level end,
            signal_strength = case when n.signal_newer then n.signal else d.signal_strength end,
            updated_at = now()
        from decided n
        where d.ctid = n.device_tid and (
            n.new_status is distinct from d.status
            or (n.new_online_at is not null and (d.last_seen_online is null
                or rollcall.timestamp_of(n.new_online_at - resolution) > d.last_seen_online))
            or rollcall.timestamp_of(n.new_last_offline) is distinct from d.last_seen_offline
            or (n.battery_newer and n.battery is distinct from d.battery_level)
            or (n.signal_newer and n.signal is distinct from d.signal_strength))
    ),
    state_written as (
        update rollcall.device_state s set
            online_at = n.new_online_at, offline_at = n.new_plain_offline_at,
            stream_offline_at = n.new_stream_offline_at,
            alive_from = n.new_alive_from, alive_before = n.new_alive_before, silent_at = n.new_silent_at,
            snapshot_online_at = n.new_son, snapshot_offline_at = n.new_soff,
            battery_at = greatest(n.old_battery_at, n.battery_at), signal_at = greatest(n.old_signal_at, n.signal_at)
        from decided n
        where s.ctid = n.state_tid and (
            n.new_online_at is distinct from s.online_at or n.new_plain_offline_at is distinct from s.offline_at
            or n.new_stream_offline_at is distinct from s.stream_offline_at or n.new_alive_from is distinct from s.alive_from or n.united is not null
            or n.new_silent_at is distinct from s.silent_at
            or n.new_son is distinct from s.snapshot_online_at or n.new_soff is distinct from s.snapshot_offline_at
            or greatest(n.old_battery_at, n.battery_at) is distinct from s.battery_at
            or greatest(n.old_signal_at, n.signal_at) is distinct from s.signal_at)
    ),
    silences as (
        select n.id, array(select upper(r) from unnest(coalesce(n.alive_before, '{}')) as r)
                || coalesce(n.silent_at, -1) as before,
            array(select upper(r) from unnest(coalesce(n.new_alive_before, '{}')) as r)
                || coalesce(n.new_silent_at, -1) as after
        from decided n
        where n.alive_before is distinct from n.new_alive_before or n.silent_at is distinct from n.new_silent_at
    ),
    retracted as (
        update rollcall.device_events e set retracted_at = clock_timestamp() from (
            select x.tid from silences, unnest(silences.before) as lost
            cross join lateral (select y.ctid as tid from rollcall.device_events y
                where y.subject = silences.id and y.kind = 'offline' and y.component = '' and y.source = 'sweep'
                    and y.at = rollcall.timestamp_of(lost) and y.retracted_at is null offset 0) as x
            where not lost = any (silences.after)
        ) as n
        where e.ctid = n.tid
    )
    insert into rollcall.device_events (subject, kind, at, source, detail)
    select n.id, n.new_status::text, rollcall.timestamp_of(t.at), n.source, '{}'::jsonb
    from decided n cross join lateral (select case when n.new_status = 'online' then coalesce(n.f, n.son, n.new_online_at)
        else coalesce(n.off_at, n.soff, nullif(n.stream_off, 0)) end as at) as t
    where n.new_status is distinct from n.status and n.new_status in ('online', 'offline') and t.at is not null
    union all
    select silences.id, 'offline', rollcall.timestamp_of(began), 'sweep', '{}'::jsonb
    from silences, unnest(silences.after) as began where began >= 0 and not began = any (silences.before)
    on conflict do nothing;
end $$;

-- Firmware: one element a sighting.
create or replace function rollcall.apply_firmware(ids uuid[], components text[], versions text[], ats bigint[])
returns void language plpgsql as $$
declare
    touched_ids uuid[];
    touched_components text[];
    fresh_ids uuid[];
    fresh_components text[];
begin
    select array_agg(t.id), array_agg(t.component) into fresh_ids, fresh_components
    from (select distinct * from unnest(ids, components) as u (id, component)) as t
    where (select f.at from rollcall.device_firmware f where f.device_id = t.id and f.component = t.component) is null;

    if fresh_ids is not null then
        -- what was there before us counts: the history by others, else the row's value as of last_seen
        insert into rollcall.firmware_points (device_id, component, version, day, at)
        select distinct on (1, 2, 3, 4) q.* from unnest(fresh_ids, fresh_components) as w (id, component)
        cross join lateral (
            select w.id, w.component, h.firmware_version, rollcall.micros_of(h.installed_at) / 86400000000,
                rollcall.micros_of(h.installed_at)
            from public.device_firmware_history h
            where h.device_id = w.id and coalesce(h.component_type, 'main') = w.component and h.installed_at is not null
            union all
            select w.id, 'main', d.firmware_version, o.at / 86400000000, o.at
            from public.devices d
            cross join lateral (select rollcall.micros_of(coalesce(d.last_seen, d.created_at)) as at) as o
            where d.id = w.id and w.component = 'main' and d.firmware_version is not null
                and not exists (select 1 from public.device_firmware_history h where h.device_id = w.id
                    and coalesce(h.component_type, 'main') = 'main')
        ) as q (id, component, version, day, at)
        order by 1, 2, 3, 4, 5
        on conflict do nothing;
    end if;

    with i as (select * from unnest(ids, components, versions, ats) as t (id, component, version, at)),
    upserted as (
        insert into rollcall.firmware_points as p (device_id, component, version, day, at)
        select id, component, version, at / 86400000000, min(at) from i group by 1, 2, 3, 4 order by 1, 2, 3, 4
        on conflict (device_id, component, version, day) do update set at = excluded.at where excluded.at < p.at
        returning p.device_id, p.component
    ),
    newest as (
        select distinct on (id, component) id, component, version, at from i
        order by id, component, at desc, version collate "C" desc
    ),
    heads as (
        insert into rollcall.device_firmware as f (device_id, component, version, at)
        select n.id, n.component,
            case when (s.at, s.version collate "C") > (n.at, n.version) then s.version else n.version end,
            greatest(n.at, s.at)
        from newest n left join lateral (select p.version, p.at from rollcall.firmware_points p
            where p.device_id = n.id and p.component = n.component
                and (select f.at from rollcall.device_firmware f where f.device_id = n.id and f.component = n.component)
                    is null
            order by p.at desc, p.version collate "C" desc limit 1) as s on true
        order by n.id, n.component
        on conflict (device_id, component) do update set version = excluded.version, at = excluded.at
            where (excluded.at, excluded.version collate "C") > (f.at, f.version collate "C")
        returning f.device_id, f.component, f.version, f.floating
    ),
    touched as (
        select device_id, component from upserted
        union
        select h.device_id, h.component from heads h
        where h.floating or h.version is distinct from (select f.version from rollcall.device_firmware f
            where f.device_id = h.device_id and f.component = h.component)
    )
    select array_agg(device_id), array_agg(component) into touched_ids, touched_components from touched;

    if touched_ids is not null then
        perform rollcall.rewrite_history(touched_ids, touched_components);
    end if;
end $$;

create or replace function rollcall.install_id(device uuid, component text, version text, at bigint) returns uuid
language sql immutable parallel safe
return md5(device::text || '/' || component || '/' || version || '/' || at::text)::uuid;

-- Make the history of these components equal the runs over their points. Rows of others are never changed: ours are
-- known by their id, which is a hash of what they say. The runs are computed once, by rollcall.installs, which knows of
-- deployments too and stands with them (20260201000700_rollcall_api.sql); each step looks rows up from there.
create or replace function rollcall.rewrite_history(ids uuid[], components text[]) returns void language plpgsql as $$
declare
    i_ids uuid[];
    i_components text[];
    i_versions text[];
    i_ats bigint[];
    i_sources text[];
    i_floating boolean[];
begin
    select array_agg(i.device_id), array_agg(i.component), array_agg(i.version), array_agg(i.at), array_agg(i.source),
        array_agg(i.floating)
    into i_ids, i_components, i_versions, i_ats, i_sources, i_floating from rollcall.installs(ids, components) i;

    update rollcall.device_firmware f set floating = n.is_floating from (
        select g.tid, true as is_floating
        from unnest(i_ids, i_components, i_floating) as i (device_id, component, floating)
        cross join lateral (select x.ctid as tid, x.floating from rollcall.device_firmware x
            where x.device_id = i.device_id and x.component = i.component offset 0) as g
        where i.floating and not g.floating
        union all
        select g.tid, false from unnest(ids, components) as t (device_id, component)
        cross join lateral (select x.ctid as tid, x.floating from rollcall.device_firmware x
            where x.device_id = t.device_id and x.component = t.component offset 0) as g
        where g.floating and not exists (
            select 1 from rollcall.installs(array[t.device_id], array[t.component]) i where i.floating)
    ) as n
    where f.ctid = n.tid;

    with gone as (
        delete from public.device_firmware_history h using (
            select x.tid, t.component from unnest(ids, components) as t (device_id, component)
            cross join lateral (select y.*, y.ctid as tid from public.device_firmware_history y
                where y.device_id = t.device_id and coalesce(y.component_type, 'main') = t.component offset 0) as x
            where x.id = rollcall.install_id(x.device_id, t.component, x.firmware_version,
                    rollcall.micros_of(x.installed_at))
                and not exists (select 1 from rollcall.installs(array[t.device_id], array[t.component]) i
                    where i.version = x.firmware_version and i.at = rollcall.micros_of(x.installed_at))
        ) as n
        where h.ctid = n.tid
        returning h.device_id, n.component, h.installed_at
    )
    update rollcall.device_events e set retracted_at = clock_timestamp() from (
        select x.tid from gone cross join lateral (select y.ctid as tid from rollcall.device_events y
            where y.subject = gone.device_id and y.kind = 'firmware' and y.component = gone.component
                and y.at = gone.installed_at and y.retracted_at is null offset 0) as x
    ) as n
    where e.ctid = n.tid;

    with added as (
        insert into public.device_firmware_history
            (id, device_id, firmware_version, component_type, installed_at, source)
        select rollcall.install_id(i.device_id, i.component, i.version, i.at), i.device_id, i.version, i.component,
            rollcall.timestamp_of(i.at), i.source
        from unnest(i_ids, i_components, i_versions, i_ats, i_sources) as i (device_id, component, version, at, source)
        where (select h.id from public.device_firmware_history h where h.device_id = i.device_id
            and coalesce(h.component_type, 'main') = i.component and h.firmware_version = i.version
            and h.installed_at = rollcall.timestamp_of(i.at) limit 1) is null
        order by i.device_id, i.component, i.at
        on conflict (id) do nothing
        returning device_id, component_type, installed_at, firmware_version
    )
    insert into rollcall.device_events (subject, kind, component, at, source, detail)
    select distinct on (device_id, component_type, installed_at) device_id, 'firmware', component_type, installed_at,
        'apply', jsonb_build_object('version', firmware_version)
    from added order by device_id, component_type, installed_at, firmware_version collate "C" desc
    on conflict (subject, kind, component, at, source) do update set retracted_at = null, detail = excluded.detail;

    update public.device_firmware_history h set source = n.source from (
        select x.tid, i.source
        from unnest(i_ids, i_components, i_versions, i_ats, i_sources) as i (device_id, component, version, at, source)
        cross join lateral (select y.ctid as tid, y.source from public.device_firmware_history y
            where y.id = rollcall.install_id(i.device_id, i.component, i.version, i.at) offset 0) as x
        where x.source in ('factory_default', 'unknown') and x.source <> i.source
    ) as n
    where h.ctid = n.tid;

    update public.devices d set firmware_version = n.version, updated_at = now() from (
        select x.tid, f.version from unnest(ids, components) as t (device_id, component)
        cross join lateral (select y.ctid as tid, y.firmware_version from public.devices y
            where y.id = t.device_id offset 0) as x
        cross join lateral (select y.version from rollcall.device_firmware y
            where y.device_id = t.device_id and y.component = t.component offset 0) as f
        where t.component = 'main' and x.firmware_version is distinct from f.version
    ) as n
    where d.ctid = n.tid;
end $$;

create or replace function rollcall.apply_readings(
    ids uuid[], names text[], readings double precision[], units text[], ats bigint[]
) returns void language plpgsql as $$
begin
    insert into rollcall.device_readings as r (device_id, name, value, unit, at)
    select t.* from unnest(ids, names, readings, units, ats) as t (id, name, value, unit, at)
    where exists (select 1 from rollcall.device_readings k where k.device_id = t.id and k.name = t.name)
        or (select count(*) from rollcall.device_readings k where k.device_id = t.id) < 64
    order by 1, 2
    on conflict (device_id, name) do update set value = excluded.value, unit = excluded.unit, at = excluded.at
        where (excluded.at, excluded.value, excluded.unit collate "C") > (r.at, r.value, r.unit collate "C");
end $$;

-- The timeline's rows of a batch with offline evidence: each mark that changes what was so before it. Runs before
-- apply_presence, because it compares with the row as it was. Where a device changed more often than marks are kept, each
-- of its rows says how many were left out.
create or replace function rollcall.record_marks(
    ids uuid[], ats bigint[], onlines boolean[], sources text[], left_outs int[]
) returns void language plpgsql as $$
begin
    insert into rollcall.device_events (subject, kind, at, source, detail)
    select id, case when online then 'online' else 'offline' end, rollcall.timestamp_of(at), source,
        case when left_out > 0 then jsonb_build_object('left_out', left_out) else '{}' end
    from (
        select t.*, lag(t.online, 1, d.status <> 'offline') over (partition by t.id order by t.at, not t.online) as before
        from unnest(ids, ats, onlines, sources, left_outs) as t (id, at, online, source, left_out)
        join public.devices d on d.id = t.id
    ) as m
    where before is distinct from online order by 1, 2
    on conflict do nothing;
end $$;

-- Digests of what this commit answers (see ingest/digests.py), and how far each session has been heard.
create or replace function rollcall.record_sessions(
    session_ids bigint[], seqs bigint[], digests bytea[], heard_untils bigint[], keep bigint
) returns void language plpgsql as $$
begin
    insert into rollcall.mqtt_digests (session_id, seq, digests)
    select s, q, d from unnest(session_ids, seqs, digests) as t (s, q, d)
    where length(d) > 0 order by 1, 2 on conflict do nothing;
    delete from rollcall.mqtt_digests m using unnest(session_ids, seqs) as t (s, q)
    where m.session_id = t.s and m.seq < t.q - keep;
    update rollcall.mqtt_sessions m set heard_until = greatest(m.heard_until, t.h)
    from unnest(session_ids, heard_untils) as t (s, h) where m.id = t.s and t.h is not null;
end $$;

-- One batch: everything or nothing. Returns the ids of devices that are gone; then nothing was applied.
create or replace function rollcall.apply(
    ids uuid[], after_settings bigint[], online_first bigint[], online_last bigint[], online_runs text[],
    offline_ats bigint[], snapshot_online_ats bigint[], snapshot_offline_ats bigint[],
    batteries int[], battery_ats bigint[], signals int[], signal_ats bigint[], sources text[],
    stream_ids uuid[], windows bigint[], connected_ats bigint[], disconnected_ats bigint[],
    head_onlines boolean[], head_ats bigint[], head_orders text[],
    firmware_ids uuid[], components text[], versions text[], firmware_ats bigint[],
    reading_ids uuid[], names text[], readings double precision[], units text[], reading_ats bigint[],
    mark_ids uuid[], mark_ats bigint[], mark_onlines boolean[], mark_sources text[], marks_left_out int[],
    session_ids bigint[], seqs bigint[], digests bytea[], heard_untils bigint[],
    digests_kept bigint, resolution bigint
) returns uuid[] language plpgsql
-- Plans for few rows, made once and by index: one for thousands would read whole tables and be made anew at each call,
-- and one that was made while a table was empty would go on reading all of it.
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    gone uuid[];
    steady boolean[];
    rest uuid[];
    stream_offline_ats bigint[] := '{}';
begin
    perform set_config('rollcall.applying', 'on', true);
    gone := rollcall.lock_devices(ids);
    if cardinality(gone) > 0 then
        return gone;
    end if;
    if cardinality(mark_ids) > 0 then
        perform rollcall.record_marks(mark_ids, mark_ats, mark_onlines, mark_sources, marks_left_out);
    end if;
    if cardinality(stream_ids) > 0 then
        stream_offline_ats := rollcall.apply_streams(ids, stream_ids, windows, connected_ats, disconnected_ats,
            head_onlines, head_ats, head_orders);
    end if;
    if cardinality(ids) > 0 then
        steady := rollcall.apply_steady(ids, after_settings, online_first, online_last, online_runs, offline_ats,
            snapshot_online_ats, snapshot_offline_ats, batteries, battery_ats, signals, signal_ats,
            stream_offline_ats, resolution);
    end if;
    if not true = all (steady) then
        rest := array(select t.id from unnest(ids, steady) as t (id, ok) where not ok);
        perform rollcall.seed_states(rest);
        perform rollcall.apply_presence(array_agg(id), array_agg(after_setting), array_agg(f), array_agg(l), array_agg(runs),
            array_agg(off_at), array_agg(son), array_agg(soff), array_agg(battery), array_agg(battery_at),
            array_agg(signal), array_agg(signal_at), array_agg(stream_off), array_agg(source), resolution)
        from unnest(ids, after_settings, online_first, online_last, online_runs, offline_ats, snapshot_online_ats,
                snapshot_offline_ats, batteries, battery_ats, signals, signal_ats, stream_offline_ats, sources, steady)
            as t (id, after_setting, f, l, runs, off_at, son, soff, battery, battery_at, signal, signal_at, stream_off,
                source, ok)
        where not ok;
    end if;
    if cardinality(firmware_ids) > 0 then
        perform rollcall.apply_firmware(firmware_ids, components, versions, firmware_ats);
    end if;
    if cardinality(reading_ids) > 0 then
        perform rollcall.apply_readings(reading_ids, names, readings, units, reading_ats);
    end if;
    if cardinality(session_ids) > 0 then
        perform rollcall.record_sessions(session_ids, seqs, digests, heard_untils, digests_kept);
    end if;
    return gone;
end $$;

-- The sweep (see ingest/sweep.py): mark one chunk of silent devices, in id order after `after_id`. A device is silent
-- when every session of its integration has heard, without a gap, past the last evidence plus offline_after.
create or replace function rollcall.sweep(after_id uuid, chunk int, default_after bigint, now_at bigint)
returns table (last_id uuid, scanned int, silenced int) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    chunk_ids uuid[];
begin
    select array_agg(c.id), count(*) into chunk_ids, scanned from (
        select d.id from public.devices d where d.id > after_id order by d.id limit chunk) as c;
    last_id := chunk_ids[cardinality(chunk_ids)];
    select array_agg(id) into chunk_ids from rollcall.silent(chunk_ids, default_after, now_at);
    silenced := 0;
    if chunk_ids is not null then
        perform 1 from public.devices d where d.id = any (chunk_ids) order by d.id for no key update;
        with s as materialized (select * from rollcall.silent(chunk_ids, default_after, now_at)),
        state as (
            insert into rollcall.device_state as t (device_id, online_at, alive_from, silent_at)
            select s.id, s.basis, s.basis, s.silent_at from s
            on conflict (device_id) do update set silent_at = excluded.silent_at,
                online_at = coalesce(t.online_at, case when t.snapshot_online_at is null then excluded.online_at end),
                alive_from = coalesce(t.alive_from, case when t.snapshot_online_at is null then excluded.alive_from end)
        ),
        device as (
            update public.devices d set status = 'offline', last_seen_offline = rollcall.timestamp_of(s.silent_at),
                updated_at = now()
            from s where d.id = s.id
        )
        insert into rollcall.device_events (subject, kind, at, source)
        select s.id, 'offline', rollcall.timestamp_of(s.silent_at), 'sweep' from s
        on conflict (subject, kind, component, at, source) do update set retracted_at = null;
        get diagnostics silenced = row_count;
    end if;
    return next;
end $$;

create or replace function rollcall.silent(ids uuid[], default_after bigint, now_at bigint)
returns table (id uuid, basis bigint, silent_at bigint) language sql stable as $$
    select q.id, q.basis, q.silent_at from (
        select d.id, b.basis, greatest(b.basis, hearing.since) + rollcall.offline_after_of(d.metadata,
                coalesce((case when jsonb_typeof(n.settings -> 'offline_after_s') = 'number'
                    then (n.settings ->> 'offline_after_s')::numeric end * 1000000)::bigint, default_after)) as silent_at,
            hearing.until
        from unnest(ids) as c (id) join public.devices d on d.id = c.id
        join public.device_integrations n on n.id = d.integration_id and n.status = 'active'
        left join rollcall.device_state s on s.device_id = d.id
        cross join lateral (select coalesce(s.online_at, s.snapshot_online_at, s.offline_at, s.stream_offline_at,
            rollcall.micros_of(coalesce(d.last_seen, d.created_at))) as basis) as b
        join lateral (select max(m.heard_since) as since, min(m.heard_until) as until,
            min(m.heard_until + m.fresh_for) as stale_at
            from rollcall.mqtt_sessions m where m.integration_id = n.id) as hearing on hearing.stale_at >= now_at
        where d.status = 'online' and not coalesce(s.snapshot_offline_at > s.online_at, false)
    ) as q where q.silent_at < q.until
$$;
