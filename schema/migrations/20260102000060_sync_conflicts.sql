do $$ begin
    if to_regclass('public.sync_conflicts') is null then
        create table if not exists public.sync_conflicts (
            id uuid primary key default gen_random_uuid(),
            device_id uuid not null references public.devices (id) on delete cascade,
            field_name text not null,
            local_value jsonb,
            remote_value jsonb,
            conflict_detected_at timestamptz default now(),
            resolution_strategy text
                check (resolution_strategy in ('prefer_local', 'prefer_remote', 'manual', 'merge')),
            resolved_at timestamptz,
            resolved_by uuid,
            resolution_notes text
        );
        perform rollcall.reference_users('public.sync_conflicts', 'resolved_by');
        perform rollcall.close_table('public.sync_conflicts');
    end if;
end $$;

alter table public.sync_conflicts
    add column if not exists local_value jsonb,
    add column if not exists remote_value jsonb,
    add column if not exists conflict_detected_at timestamptz,
    add column if not exists resolution_strategy text,
    add column if not exists resolved_at timestamptz,
    add column if not exists resolved_by uuid,
    add column if not exists resolution_notes text;

select rollcall.add_missing_constraint('public.sync_conflicts', 'c', '{resolution_strategy}',
    'sync_conflicts_resolution_strategy_check',
    'check (resolution_strategy in (''prefer_local'', ''prefer_remote'', ''manual'', ''merge''))');
