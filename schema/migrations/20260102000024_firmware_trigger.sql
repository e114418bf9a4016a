-- A row that an old writer inserts into the history becomes the device's version, as it always did, unless a newer one
-- is known: late rows would put an old version back. Our own apply keeps devices.firmware_version itself and says so
-- with `set local rollcall.applying = 'on'`.
create or replace function rollcall.copy_firmware_version() returns trigger
language plpgsql set search_path = '' as $$
begin
    if current_setting('rollcall.applying', true) = 'on' or coalesce(new.component_type, 'main') <> 'main' then
        return new;
    end if;
    update public.devices d
    set firmware_version = new.firmware_version, updated_at = now()
    where d.id = new.device_id and d.firmware_version is distinct from new.firmware_version
        and not exists (
            select from public.device_firmware_history h
            where h.device_id = new.device_id and coalesce(h.component_type, 'main') = 'main'
                and (coalesce(h.installed_at, h.created_at), h.firmware_version collate "C")
                    > (coalesce(new.installed_at, new.created_at, now()), new.firmware_version collate "C"));
    return new;
end $$;

-- Give trg_update_firmware_version this body: where the trigger exists, the function that it calls is replaced under
-- its own name (and stays security definer if it was), else the trigger is created. A migration that changes
-- rollcall.copy_firmware_version() calls this again.
create or replace function rollcall.adopt_firmware_trigger() returns void language plpgsql as $$
declare
    ours pg_proc := (select p from pg_proc p where p.oid = 'rollcall.copy_firmware_version()'::regprocedure);
    theirs pg_proc := (
        select p from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = 'public.device_firmware_history'::regclass
            and t.tgname = 'trg_update_firmware_version' and not t.tgisinternal);
begin
    if theirs.oid is null then
        create trigger trg_update_firmware_version after insert on public.device_firmware_history
            for each row execute function rollcall.copy_firmware_version();
    elsif theirs.oid <> ours.oid then
        execute format('create or replace function %s.%I() returns trigger language plpgsql %s set search_path = '''' as %L',
            theirs.pronamespace::regnamespace, theirs.proname,
            case when ours.prosecdef or theirs.prosecdef then 'security definer' else 'security invoker' end,
            ours.prosrc);
    end if;
end $$;

select rollcall.adopt_firmware_trigger();
