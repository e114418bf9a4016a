-- The apply: what a batch says becomes rows, in one call and so in one transaction and one round trip. The rule of presence and
-- values is in 30-presence.sql, firmware in 40-firmware.sql.

-- Lock the devices of a batch in one order and return the ids that are not there (any more).
create or replace function rollcall.lock_devices(ids uuid[])
returns uuid[] language plpgsql as $$
declare
    found_count int;
begin
    perform 1 from public.devices d where d.id = any (ids) order by d.id for no key update;
    get diagnostics found_count = row_count;
    if found_count = pg_catalog.cardinality(ids) then
        return '{}';
    end if;
    return array(select i from pg_catalog.unnest(ids) as i where not exists (select 1 from public.devices d where d.id = i));
end $$;

-- An apply that finds devices gone is undone: what it had written of the others is written again with the next try.
create or replace function rollcall.undone_if_any(gone uuid[])
returns uuid[] language plpgsql as $$
begin
    if pg_catalog.cardinality(gone) > 0 then
        raise sqlstate 'RC001' using message = 'devices are gone', detail = pg_catalog.array_to_string(gone, ',');
    end if;
    return gone;
end $$;

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
