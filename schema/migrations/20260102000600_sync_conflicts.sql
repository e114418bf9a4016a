-- 6. Fields that both sides changed.
do $$
declare
    created text[] := rollcall.missing_tables(array['sync_conflicts']);
begin
    create table if not exists public.sync_conflicts (
        id uuid primary key default gen_random_uuid(),
        device_id uuid not null references public.devices (id) on delete cascade,
        field_name text not null,
        local_value jsonb,
        remote_value jsonb,
        conflict_detected_at timestamptz default now(),
        resolution_strategy text,
        resolved_at timestamptz,
        resolved_by uuid,
        resolution_notes text
    );
    if 'sync_conflicts' = any (created) then
        perform rollcall.reference_user('public.sync_conflicts', 'resolved_by');
        create index sync_conflicts_device_id_idx on public.sync_conflicts (device_id);
    end if;
    perform rollcall.protect_tables(created);
end $$;

alter table public.sync_conflicts
    add column if not exists resolution_strategy text,
    add column if not exists resolved_at timestamptz,
    add column if not exists resolved_by uuid,
    add column if not exists resolution_notes text;

select rollcall.add_check('public.sync_conflicts', 'resolution_strategy',
    $$resolution_strategy in ('prefer_local', 'prefer_remote', 'manual', 'merge')$$);
