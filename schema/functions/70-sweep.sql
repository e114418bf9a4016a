-- The sweep (ingest/jobs/sweep.py): devices that nothing is heard of become offline, by the rule of 30-presence.sql.

-- Devices that were quiet for so long that they may be silent, with how they are heard: [since, until).
create or replace function rollcall.quiet_devices(ids uuid[], default_after bigint, now_at bigint)
returns table (id uuid, offline_after bigint, since bigint, until bigint) language sql stable as $$
    select q.id, q.offline_after, q.since, q.until from (
        select d.id, o.setting as offline_after, hearing.since, hearing.until,
            greatest(coalesce(s.online_at, s.snapshot_online_at, s.offline_at, s.stream_offline_at,
                rollcall.micros_of(coalesce(d.last_seen_online, d.last_seen, d.created_at))), hearing.since)
                + rollcall.offline_after_of(d.metadata, o.setting) as silent_at
        from pg_catalog.unnest(ids) as c (id)
        cross join lateral (select x.* from public.devices x where x.id = c.id offset 0) as d
        join public.device_integrations n on n.id = d.integration_id and n.status = 'active'
        cross join lateral (select coalesce((case when pg_catalog.jsonb_typeof(n.settings -> 'offline_after_s') = 'number'
            then (n.settings ->> 'offline_after_s')::numeric end * 1000000)::bigint, default_after) as setting) as o
        left join lateral (select x.* from rollcall.device_state x where x.device_id = d.id offset 0) as s on true
        join lateral (select pg_catalog.max(m.heard_since) as since, pg_catalog.min(m.heard_until) as until,
            pg_catalog.min(m.heard_until + m.fresh_for) as stale_at
            from rollcall.mqtt_sessions m where m.integration_id = n.id) as hearing on hearing.stale_at >= now_at
        where d.status = 'online'
    ) as q where q.silent_at < q.until
$$;

-- Mark one chunk of silent devices, in id order after `after_id`. A device is silent when every session of its integration has
-- heard, without a gap, past the last evidence plus offline_after.
create or replace function rollcall.sweep(after_id uuid, chunk int, default_after bigint, now_at bigint)
returns table (last_id uuid, scanned int, silenced int) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    ids uuid[];
    said rollcall.said[];
begin
    select pg_catalog.array_agg(c.id), pg_catalog.count(*) into ids, scanned from (
        select d.id from public.devices d where d.id > after_id order by d.id limit chunk) as c;
    last_id := ids[pg_catalog.cardinality(ids)];
    select pg_catalog.array_agg(q.id order by q.id), pg_catalog.array_agg((q.id, q.offline_after, null, null, null, null,
        null, null, q.since, q.until, null, null, null, null, false, 'sweep')::rollcall.said order by q.id)
    into ids, said
    from rollcall.quiet_devices(ids, default_after, now_at) as q;
    silenced := coalesce(pg_catalog.cardinality(said), 0);
    if silenced > 0 then
        perform rollcall.lock_devices(ids);
        perform rollcall.record_from_now();
        perform rollcall.apply_presence(said, null, '{}', 0);
    end if;
    return next;
end $$;
