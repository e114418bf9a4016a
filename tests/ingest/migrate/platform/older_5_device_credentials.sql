create table device_credentials (
    id uuid primary key default gen_random_uuid(),
    device_id uuid not null references devices (id) on delete cascade,
    credential_type text not null check (credential_type in ('PRE_SHARED_KEY', 'CERTIFICATE', 'TOKEN')),
    identity text not null,
    encrypted_secret text not null,
    created_at timestamptz default now(),
    expires_at timestamptz,
    last_accessed_at timestamptz,
    last_accessed_by uuid references auth.users (id),
    unique (device_id, credential_type)
);
create table device_credential_access_log (
    id uuid primary key default gen_random_uuid(),
    credential_id uuid not null references device_credentials (id) on delete cascade,
    accessed_by uuid not null references auth.users (id),
    accessed_at timestamptz default now(),
    ip_address inet,
    user_agent text
);
insert into device_credentials (device_id, credential_type, identity, encrypted_secret)
values ('00000000-0000-0000-0000-000000000011', 'PRE_SHARED_KEY', 'pump@acme', 'aHVudGVyMg==');
