-- One rule in one place: what is known of a device and what was said of it become what is known of it afterwards. Batches, the sweep
-- and listings go through it. handlers/presence.py states the same rule, step by step under the same names.
--
-- What the planner forces: the small functions are inlined only where their arguments are plain columns, hence the steps
-- behind `offset 0`; a lookup stays a lookup only as `cross join lateral (... offset 0)`, or a plan that was made on an empty table
-- reads all of it; and what an UPDATE reads is carried as a whole row for rechecks, so it is kept narrow.

-- When a value was measured that has no clock: somebody else wrote it.
create or replace function rollcall.clock_of(at bigint, value int, last_seen timestamptz, created_at timestamptz)
returns bigint language sql stable parallel safe
return case when at is null and value is not null then rollcall.micros_of(coalesce(last_seen, created_at)) else at end;

-- The value that was observed last: a later one, or at the same time the larger one.
create or replace function rollcall.observed(at bigint, value int, known_at bigint, known int) returns int
language sql immutable parallel safe
return case when at is not null and (known_at is null or at > known_at or (at = known_at and value > known))
    then value else known end;

-- The value that a row shows. An observation of the time that is known already touches no value that somebody has edited since.
create or replace function rollcall.shown(at bigint, value int, known_at bigint, known int, shown int) returns int
language sql immutable parallel safe
return case when at is not null and (known_at is null or at > known_at or (at = known_at and value > known and shown = known))
    then value else shown end;

-- Give devices that were never heard their clocks, from what their rows say. The caller has locked the rows.
create or replace function rollcall.seed_states(ids uuid[]) returns void language plpgsql as $$
begin
    insert into rollcall.device_state
        (device_id, online_at, alive_from, offline_at, battery_at, battery, signal_at, signal, version_at)
    select d.id, o.online_at, o.online_at,
        rollcall.micros_of(coalesce(d.last_seen_offline, case when d.status = 'offline' then d.last_seen end)),
        rollcall.clock_of(null, d.battery_level, d.last_seen, d.created_at), d.battery_level,
        rollcall.clock_of(null, d.signal_strength, d.last_seen, d.created_at), d.signal_strength,
        case when d.firmware_version is not null then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end
    from public.devices d cross join lateral (select rollcall.micros_of(coalesce(d.last_seen_online,
        case when d.status <> 'offline' then coalesce(d.last_seen, d.created_at) end)) as online_at) as o
    -- a scalar subquery and not `not exists`: an index lookup each, never a scan of the whole table
    where d.id = any (ids) and (select s.device_id from rollcall.device_state s where s.device_id = d.id) is null
    order by d.id
    on conflict do nothing;
end $$;

-- Write what was said of devices whose rows are locked. `known`: of how many of them the clocks are known; where that is fewer
-- than all, the caller seeds the others and calls this again.
create or replace function rollcall.write_devices(
    said rollcall.said[], stream_offline_ats bigint[], resolution bigint,
    out known bigint, out changes rollcall.transition[]
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    lag interval := resolution * interval '1us';
begin
    with old as (
        select e.*, d.ctid as device_tid, s.ctid as state_tid, d.status, d.last_seen, d.last_seen_online, d.last_seen_offline,
            d.battery_level, d.signal_strength, d.integration_id, s.online_at, s.offline_at, s.stream_offline_at,
            greatest(s.offline_at, s.stream_offline_at) as any_offline_at, s.alive_from, s.alive_before, s.silent_before,
            s.silent_at, s.snapshot_online_at, s.snapshot_offline_at,
            s.battery_at as stored_battery_at, s.battery as stored_battery,
            s.signal_at as stored_signal_at, s.signal as stored_signal,
            rollcall.offline_after_of(d.metadata, e.after_setting) as after,
            rollcall.clock_of(s.battery_at, d.battery_level, d.last_seen, d.created_at) as battery_at,
            coalesce(s.battery, d.battery_level) as battery,
            rollcall.clock_of(s.signal_at, d.signal_strength, d.last_seen, d.created_at) as signal_at,
            coalesce(s.signal, d.signal_strength) as signal
        from rows from (pg_catalog.unnest(said), pg_catalog.unnest(stream_offline_ats)) as e (id, after_setting, first, last,
            runs, said_offline_at, said_snapshot_online_at, said_snapshot_offline_at, quiet_since, quiet_until,
            said_battery, said_battery_at, said_signal, said_signal_at, has_marks, source, said_stream_offline_at)
        cross join lateral (select x.*, x.ctid from public.devices x where x.id = e.id offset 0) as d
        cross join lateral (select x.*, x.ctid from rollcall.device_state x where x.device_id = e.id offset 0) as s
        offset 0
    ),
    clocks as (
        select old.*,
            greatest(online_at, last) as new_online_at,
            greatest(offline_at, said_offline_at) as new_offline_at,
            case when said_stream_offline_at is null then stream_offline_at
                else nullif(said_stream_offline_at, 0) end as new_stream_offline_at,
            least(snapshot_online_at, said_snapshot_online_at) as new_snapshot_online_at,
            least(snapshot_offline_at, said_snapshot_offline_at) as new_snapshot_offline_at,
            -- NULL where the newest run goes on, or begins
            case when first is null or (runs is null and (online_at is null
                    or (silent_at is null and first between alive_from and online_at + after))) then null
                else rollcall.runs_after(alive_before, silent_before, alive_from, online_at, silent_at,
                    coalesce(runs::int8multirange,
                        pg_catalog.int8multirange(pg_catalog.int8range(first, last, '[]'))),
                    after, integration_id)
                end as runs_after
        from old offset 0
    ),
    quiet as (
        -- whether the device was quiet for long enough: since its last evidence, or since we could hear
        select clocks.*,
            greatest(new_offline_at, new_stream_offline_at) as new_any_offline_at,
            case when runs_after is null then coalesce(alive_from, first) else (runs_after).newest_from end as new_alive_from,
            case when runs_after is null then alive_before else (runs_after).before end as new_alive_before,
            case when runs_after is null then silent_before else (runs_after).silences end as new_silent_before,
            rollcall.is_known_offline(new_online_at, greatest(new_offline_at, new_stream_offline_at),
                new_snapshot_offline_at) as known_offline,
            case when quiet_until is not null and (status = 'online'
                    or (status = 'offline' and new_online_at is distinct from online_at)) then greatest(
                coalesce(new_online_at, new_snapshot_online_at, new_offline_at, new_stream_offline_at), quiet_since)
                + after < quiet_until
                else false end as is_quiet
        from clocks offset 0
    ),
    silence as (
        -- a silence ends with evidence, and is none where the device was known to be offline
        select quiet.*,
            case when known_offline and (new_online_at is not null or new_any_offline_at is not null) then null
                when is_quiet then greatest(coalesce(new_online_at, new_snapshot_online_at), quiet_since) + after
                when new_online_at is distinct from online_at then null
                else silent_at end as new_silent_at,
            rollcall.timestamp_of(new_online_at) as known_online,
            greatest(battery_at, said_battery_at) as new_battery_at,
            rollcall.observed(said_battery_at, said_battery, battery_at, battery) as new_battery,
            rollcall.shown(said_battery_at, said_battery, battery_at, battery, battery_level) as new_battery_level,
            greatest(signal_at, said_signal_at) as new_signal_at,
            rollcall.observed(said_signal_at, said_signal, signal_at, signal) as new_signal,
            rollcall.shown(said_signal_at, said_signal, signal_at, signal, signal_strength) as new_signal_strength
        from quiet offset 0
    ),
    presence as (
        select silence.*,
            case when not is_quiet and (new_online_at, new_any_offline_at, new_silent_at, new_snapshot_online_at,
                    new_snapshot_offline_at)
                    is not distinct from (online_at, any_offline_at, silent_at, snapshot_online_at, snapshot_offline_at)
                    then status
                when status in ('warning', 'error') and not coalesce(new_any_offline_at > coalesce(any_offline_at, 0)
                    and new_any_offline_at >= coalesce(new_online_at, 0), false) then status
                else coalesce(rollcall.status_of(new_online_at, new_any_offline_at, new_silent_at, new_snapshot_online_at,
                    new_snapshot_offline_at), status) end as new_status,
            rollcall.last_offline(new_any_offline_at, new_silent_at, new_alive_before, new_silent_before) as new_last_offline
        from silence offset 0
    ),
    shown as (
        select presence.*,
            rollcall.timestamp_of(new_last_offline) as new_last_seen_offline,
            -- how late last_seen_online may be says the setting; where the status changes it is exact
            case when last_seen_online is null or known_online - lag > last_seen_online
                    or new_status is distinct from status
                then greatest(known_online, last_seen_online) else last_seen_online end as new_last_seen_online
        from presence
    ),
    new as materialized (
        select device_tid, state_tid, new_status, new_last_seen_online, new_last_seen_offline, new_battery_level,
            new_signal_strength, new_online_at, new_offline_at, new_stream_offline_at, new_alive_from, new_alive_before,
            new_silent_before, new_silent_at, new_snapshot_online_at, new_snapshot_offline_at, new_battery_at, new_battery,
            new_signal_at, new_signal,
            (status, last_seen_online, last_seen_offline, battery_level, signal_strength) is distinct from
                (new_status, new_last_seen_online, new_last_seen_offline, new_battery_level, new_signal_strength)
                as is_shown_anew,
            (online_at, offline_at, stream_offline_at, alive_from, alive_before, silent_before, silent_at, snapshot_online_at,
                snapshot_offline_at, stored_battery_at, stored_battery, stored_signal_at, stored_signal) is distinct from
                (new_online_at, new_offline_at, new_stream_offline_at, new_alive_from, new_alive_before, new_silent_before,
                new_silent_at, new_snapshot_online_at, new_snapshot_offline_at, new_battery_at, new_battery, new_signal_at,
                new_signal) as is_known_anew,
            case when has_marks or new_status is distinct from status
                    or new_last_seen_offline is distinct from last_seen_offline
                    or (alive_before, silent_at) is distinct from (new_alive_before, new_silent_at)
                    or (online_at is null and snapshot_online_at is not null and new_online_at is not null)
                then (id, source, status, new_status, rollcall.micros_of(last_seen_offline),
                    new_last_offline, new_silent_at is not null or new_last_offline = any (new_silent_before),
                    new_online_at, coalesce(first, case when new_online_at is null then new_snapshot_online_at end),
                    new_alive_from,
                    online_at is null and snapshot_online_at is not null and new_online_at is not null,
                    case when known_offline and new_any_offline_at is null then new_snapshot_offline_at end,
                    silent_before || silent_at, new_silent_before || new_silent_at,
                    array(select pg_catalog.upper(r) - 1 from pg_catalog.unnest(new_alive_before) as r)
                        || coalesce(new_online_at, new_snapshot_online_at))::rollcall.transition end as change
        from shown
    ),
    devices_written as (
        update public.devices d set
            status = n.new_status, last_seen = greatest(d.last_seen, n.new_last_seen_online),
            last_seen_online = n.new_last_seen_online, last_seen_offline = n.new_last_seen_offline,
            battery_level = n.new_battery_level, signal_strength = n.new_signal_strength, updated_at = pg_catalog.now()
        from (select device_tid, new_status, new_last_seen_online, new_last_seen_offline, new_battery_level,
            new_signal_strength from new where is_shown_anew offset 0) n where d.ctid = n.device_tid
    ),
    state_written as (
        update rollcall.device_state s set
            online_at = n.new_online_at, offline_at = n.new_offline_at, stream_offline_at = n.new_stream_offline_at,
            alive_from = n.new_alive_from, alive_before = n.new_alive_before, silent_before = n.new_silent_before,
            silent_at = n.new_silent_at, snapshot_online_at = n.new_snapshot_online_at,
            snapshot_offline_at = n.new_snapshot_offline_at, battery_at = n.new_battery_at, battery = n.new_battery,
            signal_at = n.new_signal_at, signal = n.new_signal
        from (select state_tid, new_online_at, new_offline_at, new_stream_offline_at, new_alive_from, new_alive_before,
            new_silent_before, new_silent_at, new_snapshot_online_at, new_snapshot_offline_at, new_battery_at, new_battery,
            new_signal_at, new_signal from new where is_known_anew offset 0) n where s.ctid = n.state_tid
    )
    select pg_catalog.count(*), pg_catalog.array_agg(n.change) filter (where n.change is distinct from null)
    into known, changes from new n;
end $$;
