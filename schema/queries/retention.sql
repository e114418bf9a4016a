-- What is old goes, in portions.

-- name: expire_webhook_events
with old as (select ctid from rollcall.webhook_events where committed_at < pg_catalog.now() - pg_catalog.make_interval(days => $1) limit $2)
delete from rollcall.webhook_events w using old where w.ctid = old.ctid;

-- name: expire_events
with old as (select ctid from rollcall.device_events where recorded_at < pg_catalog.now() - pg_catalog.make_interval(days => $1) limit $2)
delete from rollcall.device_events e using old where e.ctid = old.ctid;

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
