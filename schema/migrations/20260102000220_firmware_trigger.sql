-- Writers that insert into device_firmware_history expect devices.firmware_version to follow. It still does, unless the
-- inserted version is older than one already known, and not for our own apply, which writes the column itself.
-- Where the trigger exists, the body of the function it calls is replaced, whatever that function's name is.
do $migration$
declare
    existing record;
begin
    select p.oid::regprocedure::text as signature, p.prosecdef, p.proconfig into existing
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = 'public.device_firmware_history'::regclass and t.tgname = 'trg_update_firmware_version';

    execute format($define$
        create or replace function %s returns trigger language plpgsql %s %s as $body$
        begin
            if current_setting('rollcall.applying', true) = 'on' or coalesce(new.component_type, 'main') <> 'main' then
                return new;
            end if;
            update public.devices d set firmware_version = new.firmware_version
            where d.id = new.device_id and d.firmware_version is distinct from new.firmware_version
                and not exists (
                    select 1 from public.device_firmware_history h
                    where h.device_id = new.device_id and h.id <> new.id
                        and coalesce(h.component_type, 'main') = 'main'
                        and coalesce(h.installed_at, h.created_at) > coalesce(new.installed_at, new.created_at, now()));
            return new;
        end $body$
        $define$,
        coalesce(existing.signature, 'rollcall.copy_firmware_version()'),
        case when existing.prosecdef then 'security definer' else '' end,
        (select string_agg(format('set %s to %s', split_part(c, '=', 1), coalesce(nullif(substr(c, strpos(c, '=') + 1), ''), '''''')), ' ')
            from unnest(existing.proconfig) as c));

    if existing.signature is null then
        create trigger trg_update_firmware_version after insert on public.device_firmware_history
            for each row execute function rollcall.copy_firmware_version();
    end if;
end $migration$;
