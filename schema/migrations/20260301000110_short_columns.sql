-- Most columns of a batch say the same for all its devices, or the same as their neighbour, and each element that is sent
-- costs its sender 0.2 us: one element of after_settings and sources counts for all, an empty online_first is online_last,
-- an empty signal_ats beside signals is battery_ats. Everything else is as in 20260201000100_apply.sql.
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
