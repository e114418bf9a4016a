-- A large batch of a writer who is alone needs no locks before it reads: one statement finds, compares and writes.

-- Whoever writes rollcall.device_state holds this lock, whose key is `rollcall` in ASCII: alone, and then nobody else does
-- before the transaction's end; or shared, and then the rows of public.devices are locked first, in the order of their ids.
-- True: alone. That is tried where the setting rollcall.alone_from is no larger than the number of devices.
create or replace function rollcall.is_alone(devices int) returns boolean language plpgsql as $$
begin
    -- two ifs: "and" may take the lock although the number is too small
    if devices >= nullif(current_setting('rollcall.alone_from', true), '')::int then
        if pg_try_advisory_xact_lock(8245928655518264428) then
            -- whoever holds a device's row must not stop all writers; and a circle of waiting is left before Postgres ends
            -- it at another's cost (deadlock_timeout, 1 s)
            perform set_config('lock_timeout',
                coalesce(nullif(current_setting('rollcall.alone_waits', true), ''), '200ms'), true);
            return true;
        end if;
    end if;
    perform pg_advisory_xact_lock_shared(8245928655518264428);
    return false;
end $$;

-- Let the setting rollcall.others say at the end of who was alone whether somebody waits for it.
create or replace function rollcall.note_others_waiting() returns void language plpgsql as $$
begin
    if exists (select from pg_locks l where l.locktype = 'advisory' and not l.granted and l.objsubid = 1
        and (l.classid::bigint << 32) + l.objid::bigint = 8245928655518264428
        and l.database = (select d.oid from pg_database d where d.datname = current_database())) then
        perform set_config('rollcall.others', 'on', true);
    end if;
end $$;

-- Write the devices that go on being online and are heard later than before, and say of each whether it was one of these.
-- A row is compared as it is when it is written; its clocks are those of the beginning. Should anyone have moved them since
-- who has neither lock, then all of it is to be tried again.
create or replace function rollcall.apply_moving(
    ids uuid[], after_settings bigint[], online_first bigint[], online_last bigint[], online_runs text[],
    offline_ats bigint[], snapshot_online_ats bigint[], snapshot_offline_ats bigint[],
    batteries int[], battery_ats bigint[], signals int[], signal_ats bigint[]
) returns boolean[] language plpgsql as $$
declare
    done boolean[] := array_fill(false, array[cardinality(ids)]);
    places bigint[];
    moved int;
    place bigint;
begin
    with devices_written as (
        update public.devices d set
            last_seen = greatest(d.last_seen, n.last_seen), last_seen_online = n.last_seen,
            battery_level = case when n.battery_at is not null and (n.stored_battery_at is null
                or (n.battery_at, n.battery) > (n.stored_battery_at, d.battery_level)) then n.battery
                else d.battery_level end,
            signal_strength = case when n.signal_at is not null and (n.stored_signal_at is null
                or (n.signal_at, n.signal) > (n.stored_signal_at, d.signal_strength)) then n.signal
                else d.signal_strength end,
            updated_at = now()
        from (
            select i.*, s.ctid as state_tid, s.xmin as state_xmin, s.battery_at as stored_battery_at,
                s.signal_at as stored_signal_at, s.alive_before, greatest(s.offline_at, s.stream_offline_at) as offline_at,
                s.online_at, rollcall.timestamp_of(i.l) as last_seen
            from unnest(ids, after_settings, online_first, online_last, online_runs, offline_ats, snapshot_online_ats,
                    snapshot_offline_ats, batteries, battery_ats, signals, signal_ats) with ordinality
                as i (id, after_setting, f, l, runs, off_at, son, soff, battery, battery_at, signal, signal_at, place)
            cross join lateral (
                select x.*, x.ctid, x.xmin from rollcall.device_state x where x.device_id = i.id offset 0) as s
            where i.runs is null and i.off_at is null and i.son is null and i.soff is null
                and s.silent_at is null and i.l > s.online_at and i.f >= s.alive_from
                and not coalesce(greatest(s.offline_at, s.stream_offline_at) >= s.online_at, false)
                and not coalesce(s.snapshot_offline_at > s.online_at, false)
            offset 0) as n
        where d.id = n.id and d.status <> 'offline' and n.f <= n.online_at + rollcall.offline_after_of(d.metadata, n.after_setting)
            and (d.last_seen_online is null or n.last_seen > d.last_seen_online)
            and (n.stored_battery_at is not null or d.battery_level is null)
            and (n.stored_signal_at is not null or d.signal_strength is null)
            and d.last_seen_offline is not distinct from rollcall.timestamp_of(rollcall.last_offline(
                n.offline_at, null, n.alive_before, rollcall.offline_after_of(d.metadata, n.after_setting)))
        returning n.place, n.state_tid, n.state_xmin, n.l as online_at,
            greatest(n.stored_battery_at, n.battery_at) as battery_at, greatest(n.stored_signal_at, n.signal_at) as signal_at
    ),
    state_written as (
        update rollcall.device_state s set online_at = n.online_at, battery_at = n.battery_at, signal_at = n.signal_at
        from devices_written n where s.ctid = n.state_tid and s.xmin = n.state_xmin
        returning 1
    )
    select array_agg(w.place), (select count(*) from state_written) into places, moved from devices_written w;
    if cardinality(places) <> moved then
        raise serialization_failure using message = 'clocks of a device were written without the lock of its row';
    end if;
    if moved = cardinality(ids) then
        return array_fill(true, array[moved]);
    end if;
    foreach place in array coalesce(places, '{}') loop
        done[place] := true;
    end loop;
    return done;
end $$;

-- An apply that finds devices gone is undone: what it had written of the others is written again with the next try.
create or replace function rollcall.undone_if_any(gone uuid[]) returns uuid[] language plpgsql as $$
begin
    if cardinality(gone) > 0 then
        raise sqlstate 'RC001' using message = 'devices are gone', detail = array_to_string(gone, ',');
    end if;
    return gone;
end $$;

-- As in 20260301000110_short_columns.sql, but apply_moving comes first, and what it wrote is done.
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
    slim boolean;
    alone boolean;
    moved boolean[];
    steady boolean[];
    rest uuid[];
    stream_offline_ats bigint[] := '{}';
begin
    perform set_config('rollcall.applying', 'on', true);
    if cardinality(after_settings) = 1 then
        after_settings := array_fill(after_settings[1], array[cardinality(ids)]);
    end if;
    if cardinality(sources) = 1 then
        sources := array_fill(sources[1], array[cardinality(ids)]);
    end if;
    if cardinality(online_first) = 0 then
        online_first := online_last;
    end if;
    if cardinality(signal_ats) = 0 and cardinality(signals) > 0 then
        signal_ats := battery_ats;
    end if;
    slim := resolution = 0 and cardinality(stream_ids) = 0;
    alone := rollcall.is_alone(case when slim then cardinality(ids) else 0 end);
    gone := case when alone then '{}' else rollcall.lock_devices(ids) end;
    if slim and cardinality(ids) > 0 and cardinality(gone) = 0 then
        moved := rollcall.apply_moving(ids, after_settings, online_first, online_last, online_runs, offline_ats,
            snapshot_online_ats, snapshot_offline_ats, batteries, battery_ats, signals, signal_ats);
        if true = all (moved) then
            ids := '{}';
        else
            select array_agg(id), array_agg(after_setting), array_agg(f), array_agg(l), array_agg(runs),
                array_agg(off_at), array_agg(son), array_agg(soff), array_agg(battery), array_agg(battery_at),
                array_agg(signal), array_agg(signal_at), array_agg(source)
            into ids, after_settings, online_first, online_last, online_runs, offline_ats, snapshot_online_ats,
                snapshot_offline_ats, batteries, battery_ats, signals, signal_ats, sources
            from unnest(ids, after_settings, online_first, online_last, online_runs, offline_ats, snapshot_online_ats,
                    snapshot_offline_ats, batteries, battery_ats, signals, signal_ats, sources, moved)
                as t (id, after_setting, f, l, runs, off_at, son, soff, battery, battery_at, signal, signal_at, source, ok)
            where not ok;
        end if;
        gone := case when alone then rollcall.lock_devices(ids) else '{}' end;
    end if;
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
    if alone then
        perform rollcall.note_others_waiting();
    end if;
    return gone;
end $$;

-- As before, behind whoever is alone.
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
        perform rollcall.is_alone(0);
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
    perform rollcall.is_alone(0);
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
