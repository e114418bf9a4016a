-- As in 20260201000100_apply.sql, but each row is looked up by its id: of a table that nobody has analyzed yet, Postgres
-- joined every device of an integration with every id of the chunk.
create or replace function rollcall.silent(ids uuid[], default_after bigint, now_at bigint)
returns table (id uuid, basis bigint, silent_at bigint) language sql stable as $$
    select q.id, q.basis, q.silent_at from (
        select d.id, b.basis, greatest(b.basis, hearing.since) + rollcall.offline_after_of(d.metadata,
                coalesce((case when jsonb_typeof(n.settings -> 'offline_after_s') = 'number'
                    then (n.settings ->> 'offline_after_s')::numeric end * 1000000)::bigint, default_after)) as silent_at,
            hearing.until
        from unnest(ids) as c (id)
        cross join lateral (select x.* from public.devices x where x.id = c.id offset 0) as d
        join public.device_integrations n on n.id = d.integration_id and n.status = 'active'
        left join lateral (select x.* from rollcall.device_state x where x.device_id = d.id offset 0) as s on true
        cross join lateral (select coalesce(s.online_at, s.snapshot_online_at, s.offline_at, s.stream_offline_at,
            rollcall.micros_of(coalesce(d.last_seen, d.created_at))) as basis) as b
        join lateral (select max(m.heard_since) as since, min(m.heard_until) as until,
            min(m.heard_until + m.fresh_for) as stale_at
            from rollcall.mqtt_sessions m where m.integration_id = n.id) as hearing on hearing.stale_at >= now_at
        where d.status = 'online' and not coalesce(s.snapshot_offline_at > s.online_at, false)
    ) as q where q.silent_at < q.until
$$;
