-- Reconciliation: runs, what they have listed, facts and conflicts.

-- name: reconcile_ages
-- of each active integration of these types, or of $2 whatever its status: how long ago its newest run began, whether it has
-- not ended, and whether a broker of its organization has lost a session of ours since
select n.id, n.name, extract(epoch from pg_catalog.clock_timestamp() - r.started_at)::float8 as age_s,
    coalesce(r.status = 'running', false) as unfinished,
    exists (select 1 from public.device_integrations m join rollcall.device_events e on e.subject = m.id
        where m.organization_id = n.organization_id and m.integration_type = 'mqtt' and e.kind = 'gap'
            and e.recorded_at > r.started_at) as session_lost
from public.device_integrations n left join lateral (
    select started_at, status from rollcall.reconcile_runs
    where integration_id = n.id and not dry_run order by started_at desc limit 1) as r on true
where n.integration_type = any ($1::text[]) and case when $2::uuid is null then n.status = 'active' else n.id = $2 end
order by n.id;

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

-- name: listing_heard
insert into rollcall.mqtt_sessions as m (integration_id, client_id, heard_since, heard_until, fresh_for, state)
values ($1, 'listing', $2, $2, $3, 'listed')
on conflict (integration_id, client_id) do update set
    heard_since = case when m.heard_until + m.fresh_for < excluded.heard_until then excluded.heard_until
        else m.heard_since end,
    heard_until = greatest(m.heard_until, excluded.heard_until), fresh_for = excluded.fresh_for;

-- name: staged
select id, listed_at, device::text as device, digest from rollcall.reconcile_staging
where run_id = $1 and id > $2 order by id limit $3;

-- name: staged_ids
select pg_catalog.min(id), pg_catalog.max(id) from rollcall.reconcile_staging where run_id = $1;

-- name: drop_staged
delete from rollcall.reconcile_staging where run_id = $1 and id between $2 and $3;

-- name: unstage
delete from rollcall.reconcile_staging where run_id = $1;

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

-- name: agree_facts
-- a push that succeeded: the provider says now what the row says
update rollcall.device_facts k set remote = t.v, agreed = t.v, remote_at = greatest(k.remote_at + 1, t.at)
from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::bigint[])) as t (id, field, v, at)
where k.device_id = t.id and k.field = t.field;

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
