-- The apply: what a batch says becomes rows, in one call and so in one transaction and one round trip. The rule of presence and values
-- is in 20261201000130_one_rule.sql, firmware in 20261201000140_firmware_by_time.sql.

-- One batch: everything or nothing. Returns the ids of devices that are gone; then the caller undoes it.
create or replace function rollcall.apply(
    devices rollcall.said[], streams rollcall.said_of_stream[], firmware rollcall.said_of_firmware[],
    readings rollcall.reading[], marks rollcall.mark[], sessions rollcall.progress[], digests_kept bigint, resolution bigint
) returns uuid[] language plpgsql
-- Plans for few rows, made once and by index: one for thousands would read whole tables and be made anew at each call,
-- and one that was made while a table was empty would go on reading all of it.
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    ids uuid[] := array(select e.id from pg_catalog.unnest(devices) as e);
    gone uuid[] := rollcall.lock_devices(ids);
    stream_offline_ats bigint[];
begin
    perform pg_catalog.set_config('rollcall.applying', 'on', true);
    if pg_catalog.cardinality(gone) > 0 then
        return gone;
    end if;
    perform rollcall.record_from_now();
    if pg_catalog.cardinality(streams) > 0 then
        stream_offline_ats := rollcall.apply_streams(ids, streams);
    end if;
    -- before anything moves last_seen: the version of a device that was never heard counts as of that
    if pg_catalog.cardinality(firmware) > 0 then
        perform rollcall.apply_firmware(firmware);
    end if;
    if pg_catalog.cardinality(ids) > 0 then
        perform rollcall.apply_presence(devices, stream_offline_ats, marks, resolution);
    end if;
    if pg_catalog.cardinality(readings) > 0 then
        perform rollcall.apply_readings(readings);
    end if;
    if pg_catalog.cardinality(sessions) > 0 then
        perform rollcall.record_sessions(sessions, digests_kept);
    end if;
    return gone;
end $$;

-- Write devices and their transitions; those that were never heard get their clocks first.
create or replace function rollcall.apply_presence(
    devices rollcall.said[], stream_offline_ats bigint[], marks rollcall.mark[], resolution bigint
) returns void language plpgsql as $$
declare
    written record;
    changes rollcall.transition[];
begin
    loop
        written := rollcall.write_devices(devices, stream_offline_ats, resolution);
        -- of a device that is written a second time nothing changes; what did change is what the first time found
        changes := case when changes is null then written.changes else array(
            select c from pg_catalog.unnest(changes) as c
            union all
            select c from pg_catalog.unnest(written.changes) as c
            where not exists (select from pg_catalog.unnest(changes) as b where b.id = c.id)) end;
        exit when written.known >= pg_catalog.cardinality(devices);
        perform rollcall.seed_states(array(select e.id from pg_catalog.unnest(devices) as e));
    end loop;
    if pg_catalog.cardinality(changes) > 0 or pg_catalog.cardinality(marks) > 0 then
        perform rollcall.record_transitions(changes, marks);
    end if;
end $$;

-- Unite streams with what is known of them, and return when each of `ids` was last offline by its streams: 0 where they
-- say nothing of it, NULL where none of them came.
drop function if exists rollcall.apply_streams(uuid[], uuid[], bigint[], bigint[], bigint[], boolean[], bigint[], text[]);
create or replace function rollcall.apply_streams(ids uuid[], said rollcall.said_of_stream[])
returns bigint[] language plpgsql as $$
declare
    stream_ids uuid[] := array(select e.device_id from pg_catalog.unnest(said) as e);
begin
    insert into rollcall.device_streams as s
        (device_id, order_window, connected_at, disconnected_at, head_online, head_at, head_order)
    select e.* from pg_catalog.unnest(said) as e order by 1, 2
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
            select pg_catalog.max(case when s.disconnected_at is null then null
                when s.head_online then least(s.disconnected_at, s.head_at - 1)
                else greatest(s.disconnected_at, s.connected_at) end)
            from rollcall.device_streams s where s.device_id = t.id), 0) end
        from pg_catalog.unnest(ids) with ordinality as t (id, place) order by t.place);
end $$;

drop function if exists rollcall.apply_readings(uuid[], text[], double precision[], text[], bigint[]);
create or replace function rollcall.apply_readings(readings rollcall.reading[]) returns void language plpgsql as $$
begin
    insert into rollcall.device_readings as r (device_id, name, value, unit, at)
    select n.device_id, n.name, n.value, n.unit, n.at from (
        select t.*, pg_catalog.row_number() over (partition by t.device_id, t.is_new order by t.at, t.name collate "C") as place
        from (
            select u.*, not exists (
                select 1 from rollcall.device_readings k where k.device_id = u.device_id and k.name = u.name) as is_new
            from pg_catalog.unnest(readings) as u
        ) as t
    ) as n
    where not n.is_new
        or n.place + (select pg_catalog.count(*) from rollcall.device_readings k where k.device_id = n.device_id) <= 64
    order by 1, 2
    on conflict (device_id, name) do update set value = excluded.value, unit = excluded.unit, at = excluded.at
        where (excluded.at, excluded.value, excluded.unit collate "C") > (r.at, r.value, r.unit collate "C");
end $$;

-- Digests of what this commit answers (ingest/digests.py), how far each session has been heard, and its newest commit.
drop function if exists rollcall.record_sessions(bigint[], bigint[], bytea[], bigint[], bigint);
create or replace function rollcall.record_sessions(sessions rollcall.progress[], keep bigint)
returns void language plpgsql as $$
begin
    insert into rollcall.mqtt_digests (session_id, seq, digests)
    select t.session_id, t.seq, t.digests from pg_catalog.unnest(sessions) as t
    where pg_catalog.length(t.digests) > 0 order by 1, 2 on conflict do nothing;
    delete from rollcall.mqtt_digests where ctid = any (array(
        select old.ctid from pg_catalog.unnest(sessions) as t cross join lateral (
            select m.ctid from rollcall.mqtt_digests m where m.session_id = t.session_id and m.seq < t.seq - keep
            order by m.seq limit 1000) as old));
    update rollcall.mqtt_sessions m set
        heard_until = greatest(m.heard_until, t.heard_until), committed = coalesce(t.seq, m.committed)
    from (
        select u.session_id, pg_catalog.max(u.heard_until) as heard_until,
            pg_catalog.max(u.seq) filter (where pg_catalog.length(u.digests) > 0) as seq
        from pg_catalog.unnest(sessions) as u group by u.session_id) as t
    where m.id = t.session_id and (t.heard_until is not null or t.seq is not null);
end $$;
