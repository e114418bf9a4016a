-- The newest commit of each session that held digests: a commit that was sent ahead of its turn applies only behind the one before it.
alter table rollcall.mqtt_sessions add column if not exists committed bigint;

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
    update rollcall.mqtt_sessions m set
        heard_until = greatest(m.heard_until, t.h), committed = coalesce(t.q, m.committed)
    from (
        select s, max(h) as h, max(q) filter (where length(d) > 0) as q
        from unnest(session_ids, seqs, digests, heard_untils) as t (s, q, d, h) group by s) as t
    where m.id = t.s and (t.h is not null or t.q is not null);
end $$;
