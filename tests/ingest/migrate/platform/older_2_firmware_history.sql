create table device_firmware_history (
    id uuid primary key default gen_random_uuid(),
    device_id uuid not null references devices (id) on delete cascade,
    firmware_version text not null,
    component_type text,
    installed_at timestamptz not null default now(),
    source text check (source in ('ota_update', 'manual_provision', 'factory_default', 'unknown')),
    metadata jsonb default '{}',
    created_at timestamptz default now()
);
create index idx_firmware_history_device on device_firmware_history (device_id, installed_at desc);
create function update_device_firmware() returns trigger language plpgsql security definer as $$
begin
    if new.component_type = 'main' or new.component_type is null then
        update devices set firmware_version = new.firmware_version where id = new.device_id;
    end if;
    return new;
end $$;
create trigger trg_update_firmware_version after insert on device_firmware_history
    for each row execute function update_device_firmware();
grant select, insert on device_firmware_history to authenticated;
