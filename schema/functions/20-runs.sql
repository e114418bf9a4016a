-- Runs of evidence and the silences between them (handlers/runs.py), and what a device's row says of them.

-- Known runs united with new evidence, both as [first, last]. known_ends and known_silences: where a known run ended in a silence
-- that is known, too. A silence that is not known is derived: at the last evidence, or where that is older at `since`, plus
-- offline_after; one at or after `until` is none, because nobody heard it.
create or replace function rollcall.united_runs(
    known int8multirange, known_ends bigint[], known_silences bigint[], evidence int8multirange, offline_after bigint,
    since bigint, until bigint
) returns rollcall.runs language plpgsql immutable as $$
declare
    before int8multirange := '{}';
    silences bigint[] := '{}';
    run int8range;
    run_silence bigint;
    piece int8range;
    piece_silence bigint;
    silence bigint;
begin
    for piece in select r from pg_catalog.unnest(known + evidence) as r loop
        piece_silence := known_silences[pg_catalog.array_position(known_ends, pg_catalog.upper(piece) - 1)];
        silence := coalesce(run_silence, greatest(pg_catalog.upper(run) - 1, since) + offline_after);
        if run is null then
            run := piece;
        elsif pg_catalog.lower(piece) <= silence or (run_silence is null and (until is null or silence >= until)) then
            run := pg_catalog.int8range(pg_catalog.lower(run), pg_catalog.upper(piece));
        else
            before := before + pg_catalog.int8multirange(run);
            silences := silences || silence;
            run := piece;
        end if;
        run_silence := piece_silence;
    end loop;
    return row(pg_catalog.lower(run), before, silences)::rollcall.runs;
end $$;

-- How an integration is heard: [since, until). Empty where it is not heard at all.
create or replace function rollcall.hearing(integration uuid, out since bigint, out until bigint)
language sql stable as $$
    select pg_catalog.max(m.heard_since), pg_catalog.min(m.heard_until)
    from rollcall.mqtt_sessions m where m.integration_id = integration
$$;

-- All runs of a device whose newest does not simply go on; at most 16 are kept before the newest one.
create or replace function rollcall.runs_after(
    alive_before int8multirange, silent_before bigint[], alive_from bigint, online_at bigint, silent_at bigint,
    evidence int8multirange, offline_after bigint, integration uuid
) returns rollcall.runs language plpgsql stable as $$
declare
    heard record := rollcall.hearing(integration);
    known int8multirange := coalesce(alive_before, '{}');
    ends bigint[] := array(select pg_catalog.upper(r) - 1 from pg_catalog.unnest(known) as r);
    found rollcall.runs;
    surplus int;
begin
    if online_at is not null then
        known := known + pg_catalog.int8multirange(pg_catalog.int8range(alive_from, online_at, '[]'));
    end if;
    found := rollcall.united_runs(known, ends || online_at, silent_before || silent_at, evidence, offline_after,
        heard.since, heard.until);
    surplus := pg_catalog.cardinality(found.silences) - 16;
    if surplus > 0 then
        found.silences := found.silences[surplus + 1:];
        found.before := (select pg_catalog.range_agg(n.r) from (
            select r from pg_catalog.unnest(found.before) as r offset surplus) as n);
    end if;
    return found;
end $$;

-- Whether something said offline after the newest evidence: then the quiet that follows is no silence. A retained `offline` (a
-- snapshot) may be the live one that is known already, so it counts only where none is.
create or replace function rollcall.is_known_offline(online_at bigint, offline_at bigint, snapshot_offline_at bigint)
returns boolean language sql immutable parallel safe
return case when offline_at is not null then online_at is null or offline_at >= online_at
    else coalesce(snapshot_offline_at > online_at, snapshot_offline_at is not null) end;

create or replace function rollcall.status_of(
    online_at bigint, offline_at bigint, silent_at bigint, snapshot_online_at bigint, snapshot_offline_at bigint
) returns public.device_status language sql immutable parallel safe
return case
    when online_at is null and offline_at is null then
        case when snapshot_offline_at is not null or silent_at is not null then 'offline'::public.device_status
            when snapshot_online_at is not null then 'online'::public.device_status end
    when online_at is null or silent_at is not null
        or rollcall.is_known_offline(online_at, offline_at, snapshot_offline_at) then 'offline'::public.device_status
    else 'online'::public.device_status end;

-- The larger of offline_at and the last true silence; a silence is none where the device was known to be offline when it began.
create or replace function rollcall.last_offline(
    offline_at bigint, silent_at bigint, alive_before int8multirange, silent_before bigint[]
) returns bigint language sql immutable parallel safe
return case
    when silent_at is not null then silent_at
    when silent_before is null or pg_catalog.cardinality(silent_before) = 0 then offline_at
    when offline_at is null or offline_at < pg_catalog.upper(alive_before) - 1
        then silent_before[pg_catalog.cardinality(silent_before)]
    else offline_at end;

-- How long a device may be quiet: as its metadata has it, between ten seconds and a year, else as its integration has it.
create or replace function rollcall.offline_after_of(metadata jsonb, setting bigint) returns bigint
language sql immutable parallel safe
return case when pg_catalog.jsonb_typeof(metadata -> 'offline_after_s') = 'number'
    then greatest(10, least(31536000, (metadata ->> 'offline_after_s')::numeric))::bigint * 1000000
    else setting end;
