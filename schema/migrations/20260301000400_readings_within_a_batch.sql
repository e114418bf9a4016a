-- As in 20260201000100_apply.sql, but new names of the same batch count, too, towards the 64 that a device may have: one
-- batch could write thousands. The earliest of them get the room that is left.
create or replace function rollcall.apply_readings(
    ids uuid[], names text[], readings double precision[], units text[], ats bigint[]
) returns void language plpgsql as $$
begin
    insert into rollcall.device_readings as r (device_id, name, value, unit, at)
    select n.id, n.name, n.value, n.unit, n.at from (
        select t.*, row_number() over (partition by t.id, t.is_new order by t.at, t.name collate "C") as place
        from (
            select u.*, not exists (
                select 1 from rollcall.device_readings k where k.device_id = u.id and k.name = u.name) as is_new
            from unnest(ids, names, readings, units, ats) as u (id, name, value, unit, at)
        ) as t
    ) as n
    where not n.is_new
        or n.place + (select count(*) from rollcall.device_readings k where k.device_id = n.id) <= 64
    order by 1, 2
    on conflict (device_id, name) do update set value = excluded.value, unit = excluded.unit, at = excluded.at
        where (excluded.at, excluded.value, excluded.unit collate "C") > (r.at, r.value, r.unit collate "C");
end $$;
