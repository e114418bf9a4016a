-- The newest error of each field of a device: what stood there and why it could not be used. Written beside the commits, at most
-- once a minute a device and field; the newest 32 of a device are kept. `at`: microseconds since 1970, when its message was received.
create table if not exists rollcall.field_errors (
    device_id uuid not null references public.devices (id) on delete cascade,
    field text not null,
    value text not null,
    reason text not null,
    at bigint not null,
    primary key (device_id, field)
);

-- What the API may do: a table, its rights, the columns (empty: all), and which rows are an organization's. New: audit, field_errors.
create or replace function rollcall.api_rights()
returns table (target text, rights text, columns text[], rows_of_it text) language sql immutable as $$
    values
    ('public.organizations', 'select', '{id,name,slug}'::text[], 'id = rollcall.organization()'),
    ('public.device_integrations', 'select', '{id,organization_id,integration_type,name,project_id,base_url,status,
        webhook_enabled,created_at,updated_at}', 'own'),
    ('public.device_integrations', 'insert', '{id,organization_id,integration_type,name,project_id,base_url,status,
        webhook_enabled,api_key_encrypted,webhook_secret,settings}', 'own'),
    ('public.devices', 'select', '{id,organization_id,integration_id,external_device_id,name,device_type,model,
        serial_number,status,last_seen,last_seen_online,last_seen_offline,battery_level,signal_strength,firmware_version,
        location_id,department_id,hardware_ids,cohort_id,golioth_status,metadata,created_at,updated_at}', 'own'),
    ('public.devices', 'insert', '{id,organization_id,integration_id,external_device_id,serial_number,hardware_ids,name,
        device_type}', 'own'),
    ('public.devices', 'update', '{name,serial_number,hardware_ids,cohort_id,golioth_status,metadata,updated_at}', 'own'),
    ('public.device_firmware_history', 'select', '{}', 'device'),
    ('public.firmware_artifacts', 'select', '{}', 'own'),
    ('public.device_credentials', 'select', '{}', 'device'),
    ('public.device_credentials', 'insert', '{}', 'device'),
    ('public.device_credentials', 'update', '{identity,encrypted_secret,created_at,expires_at,last_accessed_at,
        last_accessed_by}', 'device'),
    ('public.device_credential_access_log', 'insert', '{}', 'exists (select from public.device_credentials c
        join public.devices d on d.id = c.device_id
        where c.id = credential_id and d.organization_id = rollcall.organization())'),
    ('public.sync_conflicts', 'select', '{}', 'device'),
    ('public.sync_conflicts', 'update', '{resolution_strategy,resolved_at,resolved_by,resolution_notes}', 'device'),
    ('rollcall.device_state', 'select', '{}', 'device'),
    ('rollcall.device_firmware', 'select', '{}', 'device'),
    ('rollcall.device_readings', 'select', '{}', 'device'),
    ('rollcall.field_errors', 'select', '{}', 'device'),
    ('rollcall.device_facts', 'select, insert, update', '{}', 'device'),
    ('rollcall.device_identity', 'select, insert', '{}', 'integration'),
    ('rollcall.integration_counts', 'select, insert, update', '{}', 'integration'),
    ('rollcall.dead_letters', 'select', '{}', 'integration'),
    ('rollcall.parked_devices', 'select', '{}', 'integration'),
    ('rollcall.reconcile_runs', 'select', '{}', 'integration'),
    ('rollcall.deployments', 'select, insert, update', '{}', 'own'),
    ('rollcall.audit', 'insert', '{}', 'own'),
    ('rollcall.api_requests', 'select, insert, update, delete', '{}', 'own'),
    ('rollcall.device_events', 'select, insert', '{}', 'exists (select from public.devices d
        where d.id = subject and d.organization_id = rollcall.organization())
        or exists (select from public.device_integrations i
            where i.id = subject and i.organization_id = rollcall.organization())')
$$;

select rollcall.open_to_api();
