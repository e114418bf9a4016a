-- The hot path's only SQL, by name. One block a statement: `-- name: words`, then the statement.

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

-- name: expire_webhook_events
with old as (select ctid from rollcall.webhook_events where committed_at < pg_catalog.now() - pg_catalog.make_interval(days => $1) limit $2)
delete from rollcall.webhook_events w using old where w.ctid = old.ctid;

-- name: receive_qos2
insert into rollcall.mqtt_received (session_id, packet_id, digest)
select distinct on (1, 2) * from rows from (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::int[]), pg_catalog.unnest($3::bigint[])) as t (s, p, d) order by 1, 2
on conflict (session_id, packet_id) do update set digest = excluded.digest;

-- name: release_qos2
delete from rollcall.mqtt_received r using rows from (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::int[])) as t (s, p)
where r.session_id = t.s and r.packet_id = t.p;

-- name: identities
-- lateral: an index lookup each, also when the plan was made while the table was empty
select t.e as external_device_id, i.device_id from pg_catalog.unnest($2::text[]) as t (e) cross join lateral (
    select device_id from rollcall.device_identity where integration_id = $1 and external_device_id = t.e limit 1) as i;

-- name: all_identities
select external_device_id, device_id from rollcall.device_identity where integration_id = $1 limit $2;

-- name: external_ids
select t.e from pg_catalog.unnest($2::text[]) as t (e) cross join lateral (
    select 1 from public.devices where integration_id = $1 and external_device_id = t.e limit 1) as d;

-- name: candidates
-- $5: whether rows of other integrations count
select c.place, c.id, c.how from rollcall.candidates($1, $2, $3, $4) as c
where $5::boolean or coalesce((select d.integration_id from public.devices d where d.id = c.id), $1) = $1;

-- name: bind_identities
-- a row that somebody holds is bound another time: the foreign key would wait for it
with free as materialized (
    select d.id from public.devices d where d.id = any ($3::uuid[]) for key share of d skip locked)
insert into rollcall.device_identity (integration_id, external_device_id, device_id)
select $1::uuid, t.e, t.d from rows from (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::uuid[])) as t (e, d)
join free f on f.id = t.d order by 1, 2
on conflict do nothing;

-- name: counts_for_creation
insert into rollcall.integration_counts (integration_id) values ($1)
on conflict (integration_id) do update set
    created_in_minute = case when rollcall.integration_counts.minute = pg_catalog.date_trunc('minute', pg_catalog.now())
        then rollcall.integration_counts.created_in_minute else 0 end,
    minute = pg_catalog.date_trunc('minute', pg_catalog.now())
returning created_total, created_in_minute;

-- name: count_created
update rollcall.integration_counts set created_total = created_total + $2, created_in_minute = created_in_minute + $3
where integration_id = $1;

-- name: count_dropped
insert into rollcall.integration_counts as c (integration_id, unknown_dropped)
select t.i, t.n from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::bigint[])) as t (i, n)
where exists (select from public.device_integrations d where d.id = t.i) order by 1
on conflict (integration_id) do update set unknown_dropped = c.unknown_dropped + excluded.unknown_dropped;

-- name: create_devices
insert into public.devices (id, organization_id, integration_id, external_device_id, serial_number, hardware_ids, name,
    device_type)
select t.id, n.organization_id, n.id, t.e, t.serial,
    case when t.hardware is not null then array(select pg_catalog.jsonb_array_elements_text(t.hardware)) end, t.label, 'unknown'
from rows from (pg_catalog.unnest($2::uuid[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::jsonb[]), pg_catalog.unnest($6::text[])) as t (id, e, serial, hardware, label),
    public.device_integrations n
where n.id = $1 order by t.id;

-- name: record_events
insert into rollcall.device_events (subject, kind, component, at, source, detail)
select * from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::timestamptz[]), pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::jsonb[]))
on conflict do nothing;

-- name: parked
select external_device_id, key, evidence, messages from rollcall.parked_devices
where integration_id = $1 and external_device_id = any ($2::text[]);

-- name: heard_of
-- lateral, with limits: index lookups each, whatever the fleet's size, and only until one finds it
select t.e from pg_catalog.unnest($2::text[]) as t (e) cross join lateral (
    (select 1 from rollcall.device_identity where integration_id = $1 and external_device_id = t.e limit 1)
    union all (select 1 from public.devices where integration_id = $1 and external_device_id = t.e limit 1)
    union all (select 1 from rollcall.parked_devices where integration_id = $1 and external_device_id = t.e limit 1)
    limit 1) as heard;

-- name: parked_page_end
-- the last label of the next page; NULL on the last page
select external_device_id from rollcall.parked_devices where integration_id = $1 and external_device_id > $2
order by external_device_id offset $3 - 1 limit 1;

-- name: parked_with_device
with parked as materialized (
    select pg_catalog.row_number() over (order by external_device_id) as place, external_device_id as label, key, evidence, messages
    from rollcall.parked_devices
    where integration_id = $1 and external_device_id > $2 and ($3::text is null or external_device_id <= $3)),
keys as (
    select pg_catalog.array_agg(key ->> 'external_id' order by place) as externals, pg_catalog.array_agg(key ->> 'serial_number' order by place) as serials,
        pg_catalog.array_agg(case when pg_catalog.jsonb_array_length(key -> 'hardware_ids') > 0 then key -> 'hardware_ids' end order by place) as hardware
    from parked),
found as (
    select c.place from keys, rollcall.candidates($1, externals, serials, hardware) as c
    union select p.place from parked p cross join lateral (select 1 from rollcall.device_identity i
        where i.integration_id = $1 and i.external_device_id = p.key ->> 'external_id' limit 1) as bound)
select p.label, p.key, p.evidence, p.messages from parked p join found using (place) order by p.place;

-- name: count_parked
select pg_catalog.count(*) from rollcall.parked_devices where integration_id = $1;

-- name: park
-- $5: how many messages the row counted when it was read, 0 where there was none. A row that is not returned was written meanwhile.
insert into rollcall.parked_devices (integration_id, external_device_id, key, evidence, messages)
select i, e, k, v, n + 1 from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::jsonb[]), pg_catalog.unnest($5::bigint[])) as t (i, e, k, v, n)
order by 1, 2
on conflict (integration_id, external_device_id) do update set key = excluded.key, evidence = excluded.evidence,
    messages = excluded.messages, last_at = pg_catalog.now()
where parked_devices.messages = excluded.messages - 1
returning integration_id, external_device_id, messages = 1 as is_new;

-- name: unpark
-- what was parked after the row was read stays
delete from rollcall.parked_devices p using rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::bigint[])) as t (i, e, n)
where p.integration_id = t.i and p.external_device_id = t.e and p.messages = t.n;

-- name: integrations
-- all that are active, or $1 whatever its status. A place: which one of its organization's of the kind it is, the oldest
-- first; 0 where the operator made it
select n.id, n.name, n.integration_type, n.status, n.project_id, n.base_url, n.api_key_encrypted, n.settings,
    coalesce(n.webhook_enabled, false) as webhook_enabled, n.webhook_secret, a.address as operator_address,
    k.secret as session_secret, case when a.integration_id is null then n.of_mqtt else 0 end as mqtt_place,
    case when a.integration_id is null then n.of_webhooks else 0 end as webhook_place
from (
    select i.*, pg_catalog.row_number() over (
            partition by i.organization_id, i.status = 'active', i.integration_type = 'mqtt' order by i.created_at, i.id) as of_mqtt,
        pg_catalog.row_number() over (
            partition by i.organization_id, i.status = 'active', i.webhook_enabled order by i.created_at, i.id) as of_webhooks
    from public.device_integrations i
    where case when $1::uuid is null then i.status = 'active'
        else i.organization_id = (select o.organization_id from public.device_integrations o where o.id = $1) end) as n
left join rollcall.operator_addresses a on a.integration_id = n.id
left join rollcall.mqtt_names k on k.integration_id = n.id
where $1::uuid is null or n.id = $1
order by n.id;

-- name: name_sessions
insert into rollcall.mqtt_names (integration_id) select i.id from public.device_integrations i
where i.id = any ($1::uuid[]) order by 1 on conflict do nothing;

-- name: lease
insert into rollcall.leases (name, holder, expires_at) values ($1, $2, pg_catalog.now() + pg_catalog.make_interval(secs => $3))
on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
    where rollcall.leases.holder = excluded.holder or rollcall.leases.expires_at < pg_catalog.now()
returning holder;

-- name: leases_held
with dead as (delete from rollcall.leases where pg_catalog.starts_with(name, $1) and expires_at < pg_catalog.now())
select name, holder from rollcall.leases
where expires_at >= pg_catalog.now() and (name = any ($2::text[]) or pg_catalog.starts_with(name, $1));

-- name: release_lease
delete from rollcall.leases where name = $1 and holder = $2;

-- name: open_session
insert into rollcall.mqtt_sessions (integration_id, client_id) values ($1, $2)
on conflict (integration_id, client_id) do update set epoch = mqtt_sessions.epoch + 1
returning id, epoch, heard_since, heard_until, subscriptions, gap_since;

-- name: session_digests
select seq, digests from rollcall.mqtt_digests where session_id = $1 order by seq;

-- name: session_received
select packet_id, digest from rollcall.mqtt_received where session_id = $1;

-- name: offline_since
-- ids of an integration whose newest offline word is later than $2, with or without a row; at most $3
(select i.external_device_id from rollcall.device_identity i join rollcall.device_state s on s.device_id = i.device_id
    where i.integration_id = $1 and s.offline_at > $2)
union all (select p.external_device_id from rollcall.parked_devices p
    where p.integration_id = $1 and (p.evidence ->> 'offline_at')::bigint > $2)
limit $3;

-- name: forget_digests
with known as (delete from rollcall.mqtt_digests where session_id = $1)
delete from rollcall.mqtt_received where session_id = $1;

-- name: integration_sessions
select m.client_id, m.subscriptions, exists (select from rollcall.leases l
    where l.name = 'mqtt/' || m.client_id and l.expires_at >= pg_catalog.now()) as is_held
from rollcall.mqtt_sessions m where m.integration_id = $1;

-- name: newest_heard
-- a JetStream's times are its server's
select pg_catalog.max(heard_until) from rollcall.mqtt_sessions where client_id not like '%-jetstream';

-- name: set_back
with ahead as materialized (
    select m.id, m.heard_until from rollcall.mqtt_sessions m
    where m.heard_until > $1 and m.client_id not like '%-jetstream' order by m.id for no key update of m)
update rollcall.mqtt_sessions m set heard_since = $2, heard_until = $2 from ahead where m.id = ahead.id
returning m.integration_id, ahead.heard_until;

-- name: session_gap
update rollcall.mqtt_sessions set gap_since = $2 where id = $1;

-- name: session_heard_until
select heard_until from rollcall.mqtt_sessions where id = $1;

-- name: session_drained
update rollcall.mqtt_sessions set subscriptions = '[]' where id = $1;

-- name: forget_session
delete from rollcall.mqtt_sessions where integration_id = $1 and client_id = $2;

-- name: session_connected
update rollcall.mqtt_sessions set connected_at = pg_catalog.now(), state = 'connected', detail = $3, subscriptions = $4::jsonb,
    heard_since = coalesce($2, heard_since), heard_until = coalesce(heard_until, $5) where id = $1;

-- name: session_state
update rollcall.mqtt_sessions set state = $2, detail = $3
where id = $1 and (state, detail) is distinct from ($2, $3);

-- name: sweep
select * from rollcall.sweep($1, $2, $3, $4);

-- name: number_events
select rollcall.number_events($1);

-- name: expire_events
with old as (select ctid from rollcall.device_events where recorded_at < pg_catalog.now() - pg_catalog.make_interval(days => $1) limit $2)
delete from rollcall.device_events e using old where e.ctid = old.ctid;

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

-- name: expire_field_errors
with old as (
    select f.device_id, f.field from rollcall.field_errors f
    where f.at < (extract(epoch from pg_catalog.now()) * 1000000)::bigint - $1::bigint * 86400000000 limit $2)
delete from rollcall.field_errors f using old where f.device_id = old.device_id and f.field = old.field;

-- name: evict_dead_letters
with ranked as (
    select id, integration_id, recorded_at,
        pg_catalog.row_number() over (partition by integration_id, kind order by recorded_at desc, id) as place
    from rollcall.dead_letters
),
gone as (
    delete from rollcall.dead_letters d using (
        select id from ranked where place > $1 or recorded_at < pg_catalog.now() - pg_catalog.make_interval(days => $2) limit $3) as r
    where d.id = r.id returning d.integration_id
)
insert into rollcall.integration_counts as c (integration_id, dead_letters_evicted)
select integration_id, pg_catalog.count(*) from gone group by 1
on conflict (integration_id) do update set dead_letters_evicted = c.dead_letters_evicted + excluded.dead_letters_evicted
returning (select pg_catalog.count(*) from gone);

-- name: expire_parked
with old as (select ctid from rollcall.parked_devices where last_at < pg_catalog.now() - pg_catalog.make_interval(days => $1) limit $2)
delete from rollcall.parked_devices p using old where p.ctid = old.ctid;

-- name: expire_api_requests
with old as (select ctid from rollcall.api_requests where created_at < pg_catalog.now() - pg_catalog.make_interval(days => $1) limit $2)
delete from rollcall.api_requests r using old where r.ctid = old.ctid;

-- name: expire_audit
with old as (select id from rollcall.audit where at < pg_catalog.now() - pg_catalog.make_interval(days => $1) order by at limit $2)
delete from rollcall.audit a using old where a.id = old.id;

-- name: delete_dead_letters
delete from rollcall.dead_letters where id = any ($1::uuid[]);

-- name: dead_letters_to_replay
select d.id, d.session, d.topic, d.payload, d.qos, d.retain, d.received_at, d.content_type, d.truncated, d.kind, d.headers,
    i.id as integration_id, i.name, i.settings
from rollcall.dead_letters d join public.device_integrations i on i.id = d.integration_id
where d.id = any ($1::uuid[]) order by d.received_at, d.id;

-- name: session_heard
update rollcall.mqtt_sessions set heard_until = greatest(heard_until, $2) where id = $1;

-- name: facts_to_decide
-- a name that is only the device's id says nothing, unless it is what the provider says; no tags and an empty list are one
select f.id, f.field, f.at, f.remote::text as remote, k.agreed::text as agreed, l.local::text as local,
    coalesce(k.remote_at = f.at or k.remote = f.remote, false) as again
from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::bigint[])) as f (id, field, remote, at)
join public.devices d on d.id = f.id
left join rollcall.device_facts k on k.device_id = f.id and k.field = f.field
cross join lateral (select case when f.field = 'name' and pg_catalog.to_jsonb(d.name) = f.remote then f.remote
    else rollcall.local_fact(d, f.field) end as local) as l
where k.remote_at is null or f.at > k.remote_at or (f.at = k.remote_at and f.remote::text collate "C" > k.remote::text)
    -- of a lifecycle the row holds nothing that could differ
    or (f.at = k.remote_at and f.remote = k.remote and f.field <> 'lifecycle'
        and (k.agreed is distinct from f.remote or nullif(l.local, '[]') is distinct from nullif(f.remote, '[]')));

-- name: write_facts
insert into rollcall.device_facts as k (device_id, field, remote, remote_at, agreed)
select * from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::bigint[]), pg_catalog.unnest($5::jsonb[])) order by 1, 2
on conflict (device_id, field) do update set remote = excluded.remote, remote_at = excluded.remote_at,
    agreed = coalesce(excluded.agreed, k.agreed)
where (k.remote, k.remote_at, k.agreed)
    is distinct from (excluded.remote, excluded.remote_at, coalesce(excluded.agreed, k.agreed));

-- name: take_facts
update public.devices d set
    name = coalesce(f.said ->> 'name', d.name),
    serial_number = coalesce(f.said ->> 'serial_number', d.serial_number),
    hardware_ids = case when f.said ? 'hardware_ids'
        then array(select pg_catalog.jsonb_array_elements_text(f.said -> 'hardware_ids')) else d.hardware_ids end,
    cohort_id = coalesce(f.said ->> 'cohort_id', d.cohort_id),
    golioth_status = coalesce(f.said ->> 'golioth_status', d.golioth_status),
    metadata = case when f.said ? 'metadata' then coalesce(d.metadata, '{}') || (f.said -> 'metadata') else d.metadata end,
    updated_at = pg_catalog.now()
from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::jsonb[])) as f (id, said) where d.id = f.id;

-- name: serials_taken
select serial_number from public.devices where serial_number = any ($1::text[]);

-- name: open_conflicts
insert into public.sync_conflicts (device_id, field_name, local_value, remote_value, conflict_detected_at, resolution_strategy)
select t.*, pg_catalog.now(), 'manual' from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::jsonb[])) as t (id, field, l, r)
where not exists (select 1 from public.sync_conflicts c
    where c.device_id = t.id and c.field_name = t.field and c.resolved_at is null)
order by 1, 2;

-- name: update_conflicts
update public.sync_conflicts c set local_value = t.l, remote_value = t.r
from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::jsonb[])) as t (id, field, l, r)
where c.device_id = t.id and c.field_name = t.field and c.resolved_at is null
    and (c.local_value, c.remote_value) is distinct from (t.l, t.r);

-- name: close_conflicts
update public.sync_conflicts c set resolved_at = pg_catalog.now(), resolution_notes = 'both sides agree again'
from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[])) as t (id, field)
where c.device_id = t.id and c.field_name = t.field and c.resolved_at is null;

-- name: reconcile_ages
-- of each of these integrations: how long ago its newest run began, whether it has not ended, and whether a broker of its
-- organization has lost a session of ours since
select n.id, extract(epoch from pg_catalog.clock_timestamp() - r.started_at)::float8 as age_s,
    coalesce(r.status = 'running', false) as unfinished,
    exists (select 1 from public.device_integrations m join rollcall.device_events e on e.subject = m.id
        where m.organization_id = n.organization_id and m.integration_type = 'mqtt' and e.kind = 'gap'
            and e.recorded_at > r.started_at) as session_lost
from public.device_integrations n left join lateral (
    select started_at, status from rollcall.reconcile_runs
    where integration_id = n.id and not dry_run order by started_at desc limit 1) as r on true
where n.id = any ($1::uuid[])
order by n.id;

-- name: replace_api_key
update public.device_integrations set api_key_encrypted = $3 where id = $1 and api_key_encrypted = $2;

-- name: unfinished_runs
select *, moved_at > pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $2) as is_fresh from rollcall.reconcile_runs
where integration_id = $1 and status = 'running' order by started_at desc;

-- name: start_run
insert into rollcall.reconcile_runs (id, integration_id, trigger, dry_run, holder) values ($1, $2, $3, $4, $5) returning *;

-- name: take_run_over
update rollcall.reconcile_runs set holder = $2 where id = $1 returning *;

-- name: move_run
update rollcall.reconcile_runs set phase = $3, cursor = $4, complete = $5, listed = listed + $6, matched = matched + $7,
    created = created + $8, changed = changed + $9, unchanged = unchanged + $10, unknown = unknown + $11,
    missing = missing + $12, conflicts = conflicts + $13, pushed = pushed + $14, detail = $15, errors = $16,
    moved_at = pg_catalog.clock_timestamp()
where id = $1 and holder = $2 and status = 'running' returning *;

-- name: finish_run
update rollcall.reconcile_runs set status = $3, detail = $4, errors = $5, finished_at = pg_catalog.clock_timestamp(),
    moved_at = pg_catalog.clock_timestamp()
where id = $1 and holder = $2 and status = 'running' returning *;

-- name: drop_staged
delete from rollcall.reconcile_staging where run_id = $1 and id between $2 and $3;

-- name: unstage
delete from rollcall.reconcile_staging where run_id = $1;

-- name: staged
select id, listed_at, device::text as device, digest from rollcall.reconcile_staging
where run_id = $1 and id > $2 order by id limit $3;

-- name: drop_staged_twice
delete from rollcall.reconcile_staging s using (
    select external_id, pg_catalog.max(id) as id from rollcall.reconcile_staging where run_id = $1
    group by 1 having pg_catalog.count(*) > 1) as newest
where s.run_id = $1 and s.external_id = newest.external_id and s.id < newest.id;

-- name: coverage
-- known: what the listings before had, by their digests (a device that no listing ever had was made by events, one on
-- which the two sides do not agree has none); lost: those of it that this one does not have; missing: all of them
with listed as materialized (select external_id from rollcall.reconcile_staging where run_id = $2)
select (select pg_catalog.count(*) from listed) as listed,
    pg_catalog.count(*) filter (where i.unlisted_at is null and i.listed_digest is not null) as known,
    pg_catalog.count(*) filter (where i.unlisted_at is null and i.listed_digest is not null and s.external_id is null) as lost,
    pg_catalog.count(*) filter (where s.external_id is null) as missing
from rollcall.device_identity i left join listed s on s.external_id = i.external_device_id
where i.integration_id = $1;

-- name: mark_unlisted
with listed as materialized (select external_id from rollcall.reconcile_staging where run_id = $2)
update rollcall.device_identity i set unlisted_at = case when t.is_listed then null else pg_catalog.clock_timestamp() end
from (select k.ctid as tid, s.external_id is not null as is_listed
    from rollcall.device_identity k left join listed s on s.external_id = k.external_device_id
    where k.integration_id = $1 and (k.unlisted_at is null) = (s.external_id is null)) as t
where i.ctid = t.tid;

-- name: staged_ids
select pg_catalog.min(id), pg_catalog.max(id) from rollcall.reconcile_staging where run_id = $1;

-- name: apply_settled
select settled, changed from pg_catalog.set_config('lock_timeout', '2s', true) as patience,
    rollcall.apply_settled($1, $2, $3, $4, $5, $6, $7, $8);

-- name: settle
update rollcall.device_identity i set listed_digest = rollcall.listed_digest(d, t.digest)
from rows from (pg_catalog.unnest($2::uuid[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::bigint[])) as t (id, e, digest) join public.devices d on d.id = t.id
where i.integration_id = $1 and i.external_device_id = t.e;

-- name: written_now
-- the rows of these devices that this transaction has made, and that it has changed
select pg_catalog.count(*) filter (where created_at = pg_catalog.now()) as created,
    pg_catalog.count(*) filter (where updated_at = pg_catalog.now() and created_at is distinct from pg_catalog.now()) as changed
from public.devices where id = any ($1::uuid[]);

-- name: device_rows
select d.id, d.created_at = pg_catalog.now() as is_new,
    pg_catalog.to_jsonb(d) - '{id,organization_id,integration_id,created_at,updated_at}'::text[] as device,
    (select pg_catalog.jsonb_object_agg(f.component, f.version) from rollcall.device_firmware f where f.device_id = d.id) as firmware
from public.devices d where d.id = any ($1::uuid[]) order by d.id;

-- name: agree_facts
-- a push that succeeded: the provider says now what the row says
update rollcall.device_facts k set remote = t.v, agreed = t.v, remote_at = greatest(k.remote_at + 1, t.at)
from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::bigint[])) as t (id, field, v, at)
where k.device_id = t.id and k.field = t.field;

-- name: expire_runs
with old as (
    select id from (select id, pg_catalog.row_number() over (partition by integration_id order by started_at desc) as place
        from rollcall.reconcile_runs where status <> 'running') as r where place > $1 limit $2)
delete from rollcall.reconcile_runs r using old where r.id = old.id;

-- name: expire_staging
with old as (
    select ctid from rollcall.reconcile_staging s where not exists (
        select 1 from rollcall.reconcile_runs r where r.id = s.run_id and r.status = 'running'
            and r.moved_at > pg_catalog.clock_timestamp() - interval '1 day') limit $1)
delete from rollcall.reconcile_staging s using old where s.ctid = old.ctid;

-- name: stored_secrets
select id, name, api_key_encrypted as api_key, settings ->> 'password' as password, webhook_secret,
    settings #>> '{webhook,secret}' as webhook, settings #>> '{webhook,previous_secret}' as previous_webhook,
    settings #>> '{tls,ca}' as tls_ca, settings #>> '{tls,cert}' as tls_cert, settings #>> '{tls,key}' as tls_key,
    settings #>> '{nats,creds}' as nats_creds, settings #>> '{nats,nkey}' as nats_nkey
from public.device_integrations where id > $1 order by id limit $2;

-- name: replace_webhook_secret
update public.device_integrations set webhook_secret = $3 where id = $1 and webhook_secret = $2;

-- name: replace_setting
update public.device_integrations set settings = pg_catalog.jsonb_set(settings, $4::text[], pg_catalog.to_jsonb($3::text))
where id = $1 and settings #>> $4::text[] = $2;

-- name: listing_heard
insert into rollcall.mqtt_sessions as m (integration_id, client_id, heard_since, heard_until, fresh_for, state)
values ($1, 'listing', $2, $2, $3, 'listed')
on conflict (integration_id, client_id) do update set
    heard_since = case when m.heard_until + m.fresh_for < excluded.heard_until then excluded.heard_until
        else m.heard_since end,
    heard_until = greatest(m.heard_until, excluded.heard_until), fresh_for = excluded.fresh_for;
