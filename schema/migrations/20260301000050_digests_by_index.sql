-- The digests that are known no longer are found by their index. Joined with the sessions of the batch the table was read
-- from the session's first row to its last with every commit: 12 ms a commit at 10,000 rows, beside a flood. What is
-- past the limit of one commit goes with the next ones. Everything else is as in 20260201000100_apply.sql.
create or replace function rollcall.record_sessions(
    session_ids bigint[], seqs bigint[], digests bytea[], heard_untils bigint[], keep bigint
) returns void language plpgsql as $$
begin
    insert into rollcall.mqtt_digests (session_id, seq, digests)
    select s, q, d from unnest(session_ids, seqs, digests) as t (s, q, d)
    where length(d) > 0 order by 1, 2 on conflict do nothing;
    delete from rollcall.mqtt_digests where ctid = any (array(
        select old.ctid from unnest(session_ids, seqs) as t (s, q) cross join lateral (
            select m.ctid from rollcall.mqtt_digests m where m.session_id = t.s and m.seq < t.q - keep
            order by m.seq limit 1000) as old));
    update rollcall.mqtt_sessions m set heard_until = greatest(m.heard_until, t.h)
    from unnest(session_ids, heard_untils) as t (s, h) where m.id = t.s and t.h is not null;
end $$;
