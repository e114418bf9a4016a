-- Ordered connection events of a cloud (handlers/sequences.py): when a device was last offline by them.

-- Whether one connection event is later than another (see handlers/sequences.py).
create or replace function rollcall.follows(
    at bigint, place text, online boolean, other_at bigint, other_place text, other_online boolean, order_window bigint
) returns boolean language sql immutable parallel safe
return case when pg_catalog.abs(at - other_at) > order_window then at > other_at
    else (place collate "C", at, not online) > (other_place collate "C", other_at, not other_online) end;

-- Unite streams with what is known of them, and return when each of `ids` was last offline by its streams: 0 where they
-- say nothing of it, NULL where none of them came.
create or replace function rollcall.apply_streams(ids uuid[], said rollcall.said_of_stream[])
returns bigint[] language plpgsql as $$
declare
    stream_ids uuid[] := array(select e.device_id from pg_catalog.unnest(said) as e);
begin
    insert into rollcall.device_streams as s
        (device_id, order_window, connected_at, disconnected_at, head_online, head_at, head_order)
    select e.* from pg_catalog.unnest(said) as e order by 1, 2
    on conflict (device_id, order_window) do update set
        connected_at = greatest(s.connected_at, excluded.connected_at),
        disconnected_at = greatest(s.disconnected_at, excluded.disconnected_at),
        (head_online, head_at, head_order) = (select case when f then excluded.head_online else s.head_online end,
            case when f then excluded.head_at else s.head_at end,
            case when f then excluded.head_order else s.head_order end
            from (select rollcall.follows(excluded.head_at, excluded.head_order, excluded.head_online,
                s.head_at, s.head_order, s.head_online, s.order_window) as f) as later);
    return array(
        select case when t.id = any (stream_ids) then coalesce((
            select pg_catalog.max(case when s.disconnected_at is null then null
                when s.head_online then least(s.disconnected_at, s.head_at - 1)
                else greatest(s.disconnected_at, s.connected_at) end)
            from rollcall.device_streams s where s.device_id = t.id), 0) end
        from pg_catalog.unnest(ids) with ordinality as t (id, place) order by t.place);
end $$;
