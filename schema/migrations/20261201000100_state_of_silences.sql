-- What the one rule of presence (20261201000130_one_rule.sql) keeps of a device besides its clocks.
--
-- alive_before: the runs of evidence before the newest one, [first, last]; silent_before: the silence that ended each of them, in
-- their order. battery, signal: the values that were observed at battery_at and signal_at, so that a value which somebody edited
-- in the row is told from the one that was measured. version_at: as of when the version counts that the row had before its device
-- was first heard.
alter table rollcall.device_state
    add column if not exists silent_before bigint[],
    add column if not exists battery smallint,
    add column if not exists signal smallint,
    add column if not exists version_at bigint;

-- Former runs were kept as [first, silence). Their last evidence is not known any more: the default offline_after before it.
update rollcall.device_state s set
    silent_before = array(select pg_catalog.upper(r) from pg_catalog.unnest(s.alive_before) as r),
    alive_before = (
        select pg_catalog.range_agg(pg_catalog.int8range(pg_catalog.lower(r),
            greatest(pg_catalog.lower(r), pg_catalog.upper(r) - 900000000), '[]'))
        from pg_catalog.unnest(s.alive_before) as r)
where s.silent_before is null and s.alive_before is not null;

-- The timeline is read as an outbox: rows are written with `position` NULL, and one leased task numbers them (ingest/outbox.py).
-- All rows of a transaction have one recorded_at, so that their own times order them.
alter table rollcall.device_events add column if not exists position bigint;
create sequence if not exists rollcall.device_event_positions owned by rollcall.device_events.position;
create index if not exists device_events_unnumbered_idx on rollcall.device_events (recorded_at, at) where position is null;
create unique index if not exists device_events_position_key on rollcall.device_events (position) where position is not null;

create or replace function rollcall.recording_time() returns timestamptz language sql volatile as $$
    select coalesce(nullif(pg_catalog.current_setting('rollcall.recorded_at', true), '')::timestamptz,
        pg_catalog.clock_timestamp())
$$;
alter table rollcall.device_events alter column recorded_at set default rollcall.recording_time();

-- From now on the rows of this transaction are recorded at this moment: taken behind the locks of the devices, so that of one
-- device what is committed later is recorded later.
create or replace function rollcall.record_from_now() returns void language sql volatile as $$
    select pg_catalog.set_config('rollcall.recorded_at', pg_catalog.clock_timestamp()::text, true)
$$;

create or replace function rollcall.number_events(most int) returns int language plpgsql as $$
declare
    numbered int;
begin
    with waiting as (
        select e.ctid as tid, e.recorded_at, e.at, e.kind from rollcall.device_events e where e.position is null
        order by e.recorded_at, e.at limit most for update
    ),
    placed as (
        select w.tid, pg_catalog.nextval('rollcall.device_event_positions') as position
        from (select * from waiting order by recorded_at, at, kind desc) as w
    )
    update rollcall.device_events e set position = p.position from placed p where e.ctid = p.tid;
    get diagnostics numbered = row_count;
    return numbered;
end $$;
