do $$ begin
    if to_regclass('public.device_credential_access_log') is null then
        create table if not exists public.device_credential_access_log (
            id uuid primary key default gen_random_uuid(),
            credential_id uuid not null references public.device_credentials (id) on delete cascade,
            accessed_by uuid,
            accessed_at timestamptz default now(),
            ip_address inet,
            user_agent text
        );
        perform rollcall.reference_users('public.device_credential_access_log', 'accessed_by');
        perform rollcall.close_table('public.device_credential_access_log');
    end if;
end $$;

alter table public.device_credential_access_log
    add column if not exists accessed_by uuid,
    add column if not exists accessed_at timestamptz,
    add column if not exists ip_address inet,
    add column if not exists user_agent text;
