create table firmware_artifacts (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references organizations (id) on delete cascade,
    integration_id uuid references device_integrations (id) on delete cascade,
    external_artifact_id text not null,
    package_name text not null,
    version text not null,
    component_type text,
    size_bytes bigint,
    checksum_sha256 text,
    release_date timestamptz,
    metadata jsonb default '{}',
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    unique (integration_id, external_artifact_id)
);
