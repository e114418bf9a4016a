do $$ begin
    if to_regclass('public.device_firmware_history') is null then
        create table if not exists public.device_firmware_history (
            id uuid primary key default gen_random_uuid(),
            device_id uuid not null references public.devices (id) on delete cascade,
            firmware_version text not null,
            component_type text,
            installed_at timestamptz default now(),
            source text check (source in ('ota_update', 'manual_provision', 'factory_default', 'unknown')),
            metadata jsonb,
            created_at timestamptz default now()
        );
        perform rollcall.close_table('public.device_firmware_history');
    end if;
end $$;

alter table public.device_firmware_history
    add column if not exists component_type text,
    add column if not exists installed_at timestamptz,
    add column if not exists source text,
    add column if not exists metadata jsonb,
    add column if not exists created_at timestamptz;

select rollcall.add_missing_constraint('public.device_firmware_history', 'c', '{source}',
    'device_firmware_history_source_check',
    'check (source in (''ota_update'', ''manual_provision'', ''factory_default'', ''unknown''))');
select rollcall.add_missing_constraint('public.device_firmware_history', 'f', '{device_id}',
    'device_firmware_history_device_id_fkey',
    'foreign key (device_id) references public.devices (id) on delete cascade');
