-- 4. What can be installed.
do $$
declare
    created text[] := rollcall.missing_tables(array['firmware_artifacts']);
begin
    create table if not exists public.firmware_artifacts (
        id uuid primary key default gen_random_uuid(),
        organization_id uuid not null references public.organizations (id) on delete cascade,
        integration_id uuid not null references public.device_integrations (id) on delete cascade,
        external_artifact_id text not null,
        package_name text not null,
        version text not null,
        component_type text,
        size_bytes bigint,
        checksum_sha256 text,
        release_date timestamptz,
        metadata jsonb,
        created_at timestamptz default now(),
        updated_at timestamptz default now(),
        unique (integration_id, external_artifact_id)
    );
    perform rollcall.protect_tables(created);
end $$;

alter table public.firmware_artifacts
    add column if not exists component_type text,
    add column if not exists size_bytes bigint,
    add column if not exists checksum_sha256 text,
    add column if not exists release_date timestamptz,
    add column if not exists metadata jsonb;
