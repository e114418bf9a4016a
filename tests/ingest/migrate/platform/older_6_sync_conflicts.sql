create table sync_conflicts (
    id uuid primary key default gen_random_uuid(),
    device_id uuid not null references devices (id) on delete cascade,
    field_name text not null,
    local_value jsonb,
    remote_value jsonb,
    conflict_detected_at timestamptz default now(),
    resolution_strategy text check (resolution_strategy in ('prefer_local', 'prefer_remote', 'manual', 'merge')),
    resolved_at timestamptz,
    resolved_by uuid references auth.users (id),
    resolution_notes text
);
create index idx_sync_conflicts_device on sync_conflicts (device_id);
