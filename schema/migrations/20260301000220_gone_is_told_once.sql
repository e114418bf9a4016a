-- A device that says twice in one batch that it goes: the first time is told by record_marks, and the last one is no second going.
-- Everything else is as in 20260201000100_apply.sql.
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
        and not (n.new_status = 'offline' and exists (
            select 1 from rollcall.device_events e where e.subject = n.id and e.kind = 'offline' and e.component = ''
                and e.at > rollcall.timestamp_of(coalesce(n.new_online_at, 0)) and e.at < rollcall.timestamp_of(t.at)
                and e.retracted_at is null))
    union all
    select silences.id, 'offline', rollcall.timestamp_of(began), 'sweep', '{}'::jsonb
    from silences, unnest(silences.after) as began where began >= 0 and not began = any (silences.before)
    on conflict do nothing;
end $$;
