-- presence_resolution_s holds last_seen and last_seen_online back also where a value of the row changes: an index on them
-- is then not written with it. Everything else is as in 20260201000100_apply.sql.
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
        select i.place, d.ctid as device_tid, s.ctid as state_tid,
            d.battery_level, d.signal_strength, i.battery, i.signal,
            s.online_at as old_online_at, s.battery_at as stored_battery_at, s.signal_at as stored_signal_at,
            greatest(s.online_at, i.l) as online_at,
            d.last_seen_online is null
                or rollcall.timestamp_of(greatest(s.online_at, i.l) - resolution) > d.last_seen_online as is_later,
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
            last_seen = case when n.is_later
                then greatest(d.last_seen, rollcall.timestamp_of(n.online_at)) else d.last_seen end,
            last_seen_online = case when n.is_later then rollcall.timestamp_of(n.online_at) else d.last_seen_online end,
            battery_level = case when n.battery_newer then n.battery else d.battery_level end,
            signal_strength = case when n.signal_newer then n.signal else d.signal_strength end,
            updated_at = now()
        from steady n
        where d.ctid = n.device_tid and (n.is_later
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
