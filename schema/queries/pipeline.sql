-- A batch becomes rows: the apply, its trials, and what is written beside it.

-- name: apply
-- gone: NULL, and nothing is applied, where another process has taken up one of the sessions, or the commit that this one is to
-- be behind is not the session's newest. Whoever takes one up waits for this lock, and then sees the digests of this commit.
-- What is acknowledged is on the disk, whatever a role or a pooler's session says.
with held as materialized (
    select m.epoch = t.epoch and (t.behind is null or m.committed = t.behind) as ours
    from rows from (pg_catalog.unnest($9::bigint[]), pg_catalog.unnest($10::bigint[]), pg_catalog.unnest($11::bigint[])) as t (id, epoch, behind)
    join rollcall.mqtt_sessions m on m.id = t.id order by m.id for no key update of m
)
select case when (select pg_catalog.count(*) from held where ours) = pg_catalog.cardinality($9::bigint[]) then
    rollcall.undone_if_any(rollcall.apply($1, $2, $3, $4, $5, $6, $7, $8)) end as gone
from pg_catalog.set_config('synchronous_commit', 'on', true) as durable, pg_catalog.set_config('lock_timeout', $12, true) as patience;

-- name: bound_trial
-- a trial that is slow shows enough; never longer than a commit may take
select pg_catalog.set_config('statement_timeout', case when s.setting::int between 1 and 2000 then s.setting else '2000' end, true)
from pg_catalog.pg_settings s where s.name = 'statement_timeout';

-- name: bound_locks
select pg_catalog.set_config('lock_timeout', $1, true);

-- name: locked_devices
-- those of $1 whose rows somebody else holds now
select d.id from public.devices d where d.id = any ($1::uuid[])
except
select d.id from (select x.id from public.devices x where x.id = any ($1) for no key update skip locked) as d;

-- name: integrations_gone
select t.id from pg_catalog.unnest($1::uuid[]) as t (id)
where not exists (select from public.device_integrations n where n.id = t.id);

-- name: sessions_lost
select t.id, t.epoch from rows from (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::bigint[])) as t (id, epoch)
where not exists (select 1 from rollcall.mqtt_sessions m where m.id = t.id and m.epoch = t.epoch);

-- name: insert_dead_letters
insert into rollcall.dead_letters (id, integration_id, session, topic, qos, retain, content_type, received_at, kind,
    error, payload, truncated, headers)
select * from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::uuid[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::smallint[]), pg_catalog.unnest($6::bool[]), pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::bigint[]), pg_catalog.unnest($9::text[]), pg_catalog.unnest($10::text[]), pg_catalog.unnest($11::bytea[]), pg_catalog.unnest($12::bool[]), pg_catalog.unnest($13::jsonb[]))
order by 1 on conflict (id) do nothing;

-- name: delete_dead_letters
delete from rollcall.dead_letters where id = any ($1::uuid[]);

-- name: count_dropped
insert into rollcall.integration_counts as c (integration_id, unknown_dropped)
select t.i, t.n from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::bigint[])) as t (i, n)
where exists (select from public.device_integrations d where d.id = t.i) order by 1
on conflict (integration_id) do update set unknown_dropped = c.unknown_dropped + excluded.unknown_dropped;

-- name: remember_events
insert into rollcall.webhook_events (integration_id, event_id)
select * from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[])) order by 1, 2 on conflict do nothing;

-- name: events_of_others
select w.integration_id, w.event_id from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[])) as t (i, e)
join rollcall.webhook_events w on w.integration_id = t.i and w.event_id = t.e
where w.xmin <> pg_catalog.pg_current_xact_id()::xid;

-- name: known_events
select t.e from pg_catalog.unnest($2::text[]) as t (e)
where exists (select 1 from rollcall.webhook_events w where w.integration_id = $1 and w.event_id = t.e);

-- name: receive_qos2
insert into rollcall.mqtt_received (session_id, packet_id, digest)
select distinct on (1, 2) * from rows from (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::int[]), pg_catalog.unnest($3::bigint[])) as t (s, p, d) order by 1, 2
on conflict (session_id, packet_id) do update set digest = excluded.digest;

-- name: release_qos2
delete from rollcall.mqtt_received r using rows from (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::int[])) as t (s, p)
where r.session_id = t.s and r.packet_id = t.p;

-- name: record_events
insert into rollcall.device_events (subject, kind, component, at, source, detail)
select * from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::timestamptz[]), pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::jsonb[]))
on conflict do nothing;

-- name: number_events
select rollcall.number_events($1);

-- name: sweep
select * from rollcall.sweep($1, $2, $3, $4);

-- name: keep_field_errors
-- a row that somebody holds locked is passed over: nobody waits here, and nobody waits for this
with free as materialized (
    select d.id from public.devices d where d.id = any ($1::uuid[]) for key share skip locked
)
insert into rollcall.field_errors as f (device_id, field, value, reason, at)
select t.device_id, t.field, t.value, t.reason, t.at from rows from (pg_catalog.unnest($1::uuid[]),
    pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]),
    pg_catalog.unnest($5::bigint[])) as t (device_id, field, value, reason, at)
join free on free.id = t.device_id order by t.device_id, t.field
on conflict (device_id, field) do update set value = excluded.value, reason = excluded.reason, at = excluded.at
where f.at <= excluded.at;

-- name: trim_field_errors
delete from rollcall.field_errors f using (
    select r.device_id, r.field,
        pg_catalog.row_number() over (partition by r.device_id order by r.at desc, r.field) as place
    from rollcall.field_errors r where r.device_id = any ($1::uuid[])) as old
where old.place > $2 and f.device_id = old.device_id and f.field = old.field;
