-- Named readings: the newest value of each, and room for 64 a device.

-- New names of the same batch count, too, towards the 64 that a device may have: one batch could write thousands. The earliest of
-- them get the room that is left.
create or replace function rollcall.apply_readings(readings rollcall.reading[]) returns void language plpgsql as $$
begin
    insert into rollcall.device_readings as r (device_id, name, value, unit, at)
    select n.device_id, n.name, n.value, n.unit, n.at from (
        select t.*, pg_catalog.row_number() over (partition by t.device_id, t.is_new order by t.at, t.name collate "C") as place
        from (
            select u.*, not exists (
                select 1 from rollcall.device_readings k where k.device_id = u.device_id and k.name = u.name) as is_new
            from pg_catalog.unnest(readings) as u
        ) as t
    ) as n
    where not n.is_new
        or n.place + (select pg_catalog.count(*) from rollcall.device_readings k where k.device_id = n.device_id) <= 64
    order by 1, 2
    on conflict (device_id, name) do update set value = excluded.value, unit = excluded.unit, at = excluded.at
        where (excluded.at, excluded.value, excluded.unit collate "C") > (r.at, r.value, r.unit collate "C");
end $$;
