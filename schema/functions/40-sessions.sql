-- What MQTT sessions have committed.

-- Digests of what this commit answers (ingest/sessions/redeliveries.py), how far each session has been heard, and its newest commit.
--
-- The digests that are known no longer are found by their index. Joined with the sessions of the batch the table was read from the
-- session's first row to its last with every commit: 12 ms a commit at 10,000 rows, beside a flood. What is past the limit of one
-- commit goes with the next ones.
create or replace function rollcall.record_sessions(sessions rollcall.progress[], keep bigint)
returns void language plpgsql as $$
begin
    insert into rollcall.mqtt_digests (session_id, seq, digests)
    select t.session_id, t.seq, t.digests from pg_catalog.unnest(sessions) as t
    where pg_catalog.length(t.digests) > 0 order by 1, 2 on conflict do nothing;
    delete from rollcall.mqtt_digests where ctid = any (array(
        select old.ctid from pg_catalog.unnest(sessions) as t cross join lateral (
            select m.ctid from rollcall.mqtt_digests m where m.session_id = t.session_id and m.seq < t.seq - keep
            order by m.seq limit 1000) as old));
    update rollcall.mqtt_sessions m set
        heard_until = greatest(m.heard_until, t.heard_until), committed = coalesce(t.seq, m.committed)
    from (
        select u.session_id, pg_catalog.max(u.heard_until) as heard_until,
            pg_catalog.max(u.seq) filter (where pg_catalog.length(u.digests) > 0) as seq
        from pg_catalog.unnest(sessions) as u group by u.session_id) as t
    where m.id = t.session_id and (t.heard_until is not null or t.seq is not null);
end $$;
