-- Rows that others insert into the firmware history, and what they make of what Rollcall knows.

-- A row that somebody else inserts into the firmware history is a sighting like any other: it becomes a point of its
-- component, so that what Rollcall derives later agrees with it. Security definer, because an old writer has no rights in
-- this schema; nobody can call a trigger function by itself.
--
-- The device's row is locked before its component's, as the apply does it. The platform's trigger writes that row after this one: both
-- could wait for each other.
create or replace function rollcall.note_sighting()
returns trigger language plpgsql security definer set search_path to '' as $$
declare
    of_component text := coalesce(new.component_type, 'main');
    seen_at bigint := rollcall.micros_of(coalesce(new.installed_at, new.created_at, pg_catalog.now()));
begin
    if pg_catalog.current_setting('rollcall.applying', true) = 'on' or new.firmware_version is null then
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

revoke all on function rollcall.note_sighting() from public;

create or replace trigger rollcall_note_sighting after insert on public.device_firmware_history
    for each row execute function rollcall.note_sighting();

-- A row that an old writer inserts into the history becomes the device's version, as it always did, unless a newer one is known:
-- late rows would put an old version back. Our own apply keeps devices.firmware_version itself and says so with
-- `set local rollcall.applying = 'on'`.
--
-- The version that the row has without history counts as of when it was last heard. No search_path is set: triggers of the platform
-- run below this update, and their names are looked up in the path that they know.
create or replace function rollcall.copy_firmware_version() returns trigger language plpgsql as $$
begin
    if pg_catalog.current_setting('rollcall.applying', true) = 'on' or coalesce(new.component_type, 'main') <> 'main' then
        return new;
    end if;
    update public.devices d
    set firmware_version = new.firmware_version, updated_at = pg_catalog.now()
    where d.id = new.device_id and d.firmware_version is distinct from new.firmware_version
        and not exists (
            select from public.device_firmware_history h
            where h.device_id = new.device_id and coalesce(h.component_type, 'main') = 'main' and h.id <> new.id
                and (coalesce(h.installed_at, h.created_at), h.firmware_version collate "C")
                    > (coalesce(new.installed_at, new.created_at, pg_catalog.now()), new.firmware_version collate "C"))
        and (d.firmware_version is null
            or coalesce(new.installed_at, new.created_at, pg_catalog.now()) >= coalesce(d.last_seen, d.created_at)
            or exists (
                select from public.device_firmware_history h
                where h.device_id = new.device_id and coalesce(h.component_type, 'main') = 'main'
                    and h.firmware_version = d.firmware_version and h.id <> new.id));
    return new;
end $$;

-- Give trg_update_firmware_version this body: where the trigger exists, the function that it calls is replaced under
-- its own name (and stays security definer if it was), else the trigger is created.
create or replace function rollcall.adopt_firmware_trigger() returns void language plpgsql as $$
declare
    ours pg_catalog.pg_proc := (
        select p from pg_catalog.pg_proc p where p.oid = 'rollcall.copy_firmware_version()'::regprocedure);
    theirs pg_catalog.pg_proc := (
        select p from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = 'public.device_firmware_history'::regclass
            and t.tgname = 'trg_update_firmware_version' and not t.tgisinternal);
begin
    if theirs.oid is null then
        create trigger trg_update_firmware_version after insert on public.device_firmware_history
            for each row execute function rollcall.copy_firmware_version();
    elsif theirs.oid <> ours.oid then
        execute pg_catalog.format('create or replace function %s.%I() returns trigger language plpgsql %s as %L',
            theirs.pronamespace::regnamespace, theirs.proname,
            case when ours.prosecdef or theirs.prosecdef then 'security definer' else 'security invoker' end,
            ours.prosrc);
    end if;
end $$;

select rollcall.adopt_firmware_trigger();
