-- As in 20260201000600_history_of_others.sql, but the device's row is locked before its component's, as the apply does it.
-- The platform's trigger writes that row after this one: both could wait for each other.
create or replace function rollcall.note_sighting() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    of_component text := coalesce(new.component_type, 'main');
    seen_at bigint := rollcall.micros_of(coalesce(new.installed_at, new.created_at, now()));
begin
    if current_setting('rollcall.applying', true) = 'on' or new.firmware_version is null then
        return new;
    end if;
    perform from public.devices where id = new.device_id for no key update;
    -- a component that was never heard reads the whole history at its first sighting
    update rollcall.device_firmware f set
        version = case when newer then new.firmware_version else f.version end,
        at = greatest(f.at, seen_at)
    from (select (seen_at, new.firmware_version collate "C") > (k.at, k.version collate "C") as newer
        from rollcall.device_firmware k where k.device_id = new.device_id and k.component = of_component) as t
    where f.device_id = new.device_id and f.component = of_component;
    if found then
        insert into rollcall.firmware_points as p (device_id, component, version, day, at)
        values (new.device_id, of_component, new.firmware_version, seen_at / 86400000000, seen_at)
        on conflict (device_id, component, version, day) do update set at = excluded.at where excluded.at < p.at;
    end if;
    return new;
end $$;
