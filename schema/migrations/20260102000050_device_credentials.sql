-- Who read a secret is a user of the platform where there are users (auth.users) that we may reference, else a plain id.
create or replace function rollcall.reference_users(target regclass, user_column text)
returns void language plpgsql as $$
begin
    if exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'auth' and c.relname = 'users'
            and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'references')
    ) then
        execute pg_catalog.format('alter table %s add foreign key (%I) references auth.users (id) on delete set null',
            target, user_column);
    end if;
end $$;

do $$ begin
    if to_regclass('public.device_credentials') is null then
        create table if not exists public.device_credentials (
            id uuid primary key default gen_random_uuid(),
            device_id uuid not null references public.devices (id) on delete cascade,
            credential_type text not null
                check (credential_type in ('PRE_SHARED_KEY', 'CERTIFICATE', 'TOKEN')),
            identity text not null,
            encrypted_secret text,
            created_at timestamptz default now(),
            expires_at timestamptz,
            last_accessed_at timestamptz,
            last_accessed_by uuid,
            unique (device_id, credential_type)
        );
        perform rollcall.reference_users('public.device_credentials', 'last_accessed_by');
        perform rollcall.close_table('public.device_credentials');
    end if;
end $$;

alter table public.device_credentials
    add column if not exists encrypted_secret text,
    add column if not exists created_at timestamptz,
    add column if not exists expires_at timestamptz,
    add column if not exists last_accessed_at timestamptz,
    add column if not exists last_accessed_by uuid;

select rollcall.add_missing_constraint('public.device_credentials', 'c', '{credential_type}',
    'device_credentials_credential_type_check',
    'check (credential_type in (''PRE_SHARED_KEY'', ''CERTIFICATE'', ''TOKEN''))');
