-- 2. Which firmware was on a device, by component, and since when.
do $$
declare
    created text[] := rollcall.missing_tables(array['device_firmware_history']);
begin
    create table if not exists public.device_firmware_history (
        id uuid primary key default gen_random_uuid(),
        device_id uuid not null references public.devices (id) on delete cascade,
        firmware_version text not null,
        component_type text,
        installed_at timestamptz default now(),
        source text,
        metadata jsonb,
        created_at timestamptz default now()
    );
    perform rollcall.protect_tables(created);
end $$;

alter table public.device_firmware_history
    add column if not exists component_type text,
    add column if not exists installed_at timestamptz,
    add column if not exists source text,
    add column if not exists metadata jsonb,
    add column if not exists created_at timestamptz;

select rollcall.add_check('public.device_firmware_history', 'source',
    $$source in ('ota_update', 'manual_provision', 'factory_default', 'unknown')$$);
