-- 3. One device a serial number. Skipped, and tried again by the next run, while serial numbers repeat.
-- no transaction
-- unless: select rollcall.has_index('public.devices', array['serial_number'], 'btree', true)
-- not while: select serial_number from public.devices where serial_number is not null group by 1 having count(*) > 1
-- repair: find them with `select serial_number, array_agg(id) from devices where serial_number is not null group by 1 having count(*) > 1`, correct or empty all but one of each, and run `rollcall migrate` again
create unique index concurrently if not exists devices_serial_number_key
    on public.devices (serial_number) where serial_number is not null;
