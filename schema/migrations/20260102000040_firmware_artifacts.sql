do $$ begin
    if to_regclass('public.firmware_artifacts') is null then
        create table if not exists public.firmware_artifacts (
            id uuid primary key default gen_random_uuid(),
            organization_id uuid not null references public.organizations (id) on delete cascade,
            integration_id uuid references public.device_integrations (id) on delete cascade,
            external_artifact_id text,
            package_name text,
            version text,
            component_type text,
            size_bytes bigint,
            checksum_sha256 text,
            release_date timestamptz,
            metadata jsonb,
            created_at timestamptz default now(),
            updated_at timestamptz default now(),
            unique (integration_id, external_artifact_id)
        );
        create index if not exists firmware_artifacts_organization_id_idx
            on public.firmware_artifacts (organization_id);
        perform rollcall.close_table('public.firmware_artifacts');
    end if;
end $$;

alter table public.firmware_artifacts
    add column if not exists external_artifact_id text,
    add column if not exists package_name text,
    add column if not exists version text,
    add column if not exists component_type text,
    add column if not exists size_bytes bigint,
    add column if not exists checksum_sha256 text,
    add column if not exists release_date timestamptz,
    add column if not exists metadata jsonb,
    add column if not exists created_at timestamptz,
    add column if not exists updated_at timestamptz;
