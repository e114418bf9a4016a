-- MQTT sessions and leases: who holds one, what it has heard and committed.

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

-- name: session_heard
update rollcall.mqtt_sessions set heard_until = greatest(heard_until, $2) where id = $1;
