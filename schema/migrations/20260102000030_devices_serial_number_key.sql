-- no transaction
-- unless: select rollcall.has_index('public.devices', 'btree', '{serial_number}', must_be_unique => true)
-- repair: list the duplicates with `select serial_number, array_agg(id order by created_at) from public.devices
--     where serial_number is not null group by 1 having count(*) > 1`, keep the serial number on one row of each
--     and set it to null on the others
create unique index concurrently if not exists devices_serial_number_key
    on public.devices (serial_number) where serial_number is not null;
