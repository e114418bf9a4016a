-- When a row of the timeline is recorded: at the moment that rollcall.record_from_now() has set, else now. It is here and not in
-- functions/, because a default calls it.
create or replace function rollcall.recording_time() returns timestamptz language sql volatile as $$
    select coalesce(nullif(pg_catalog.current_setting('rollcall.recorded_at', true), '')::timestamptz,
        pg_catalog.clock_timestamp())
$$;

-- The timeline. `subject` is a device, or the integration for what concerns no known device (parked, gap).
--
-- The timeline is read as an outbox: rows are written with `position` NULL, and one leased task numbers them (ingest/jobs/outbox.py).
-- All rows of a transaction have one recorded_at, so that their own times order them.
create table rollcall.device_events (
    subject uuid not null,
    kind text not null,
    component text not null default '',
    at timestamptz not null,
    source text not null,
    recorded_at timestamptz not null default rollcall.recording_time(),
    retracted_at timestamptz,
    detail jsonb not null default '{}',
    position bigint,
    primary key (subject, kind, component, at, source)
);
create index device_events_subject_at_idx on rollcall.device_events (subject, at desc);
create index device_events_recorded_at_idx on rollcall.device_events (recorded_at);
create index device_events_unnumbered_idx on rollcall.device_events (recorded_at, at) where position is null;
create unique index device_events_position_key on rollcall.device_events (position) where position is not null;

create sequence rollcall.device_event_positions owned by rollcall.device_events.position;
