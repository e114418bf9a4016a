-- 5. The secrets of devices, encrypted by the service, and who read them.
-- 7. of the platform's list is no function here: the service decrypts, and the database never sees a clear text.
do $$
declare
    created text[] := rollcall.missing_tables(array['device_credentials', 'device_credential_access_log']);
begin
    create table if not exists public.device_credentials (
        id uuid primary key default gen_random_uuid(),
        device_id uuid not null references public.devices (id) on delete cascade,
        credential_type text not null,
        identity text not null,
        encrypted_secret text,
        created_at timestamptz default now(),
        expires_at timestamptz,
        last_accessed_at timestamptz,
        last_accessed_by uuid,
        unique (device_id, credential_type)
    );

    create table if not exists public.device_credential_access_log (
        id uuid primary key default gen_random_uuid(),
        credential_id uuid references public.device_credentials (id) on delete cascade,
        accessed_by uuid,
        accessed_at timestamptz default now(),
        ip_address inet,
        user_agent text
    );

    if 'device_credentials' = any (created) then
        perform rollcall.reference_user('public.device_credentials', 'last_accessed_by');
    end if;
    if 'device_credential_access_log' = any (created) then
        perform rollcall.reference_user('public.device_credential_access_log', 'accessed_by');
        create index device_credential_access_log_credential_id_accessed_at_idx
            on public.device_credential_access_log (credential_id, accessed_at);
    end if;
    perform rollcall.protect_tables(created);
end $$;

alter table public.device_credentials
    add column if not exists expires_at timestamptz,
    add column if not exists last_accessed_at timestamptz,
    add column if not exists last_accessed_by uuid;
alter table public.device_credential_access_log
    add column if not exists ip_address inet,
    add column if not exists user_agent text;

select rollcall.add_check('public.device_credentials', 'credential_type',
    $$credential_type in ('PRE_SHARED_KEY', 'CERTIFICATE', 'TOKEN')$$);
