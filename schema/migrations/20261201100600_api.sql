-- What the API and the command line remember: who may ask, what was asked once already, and who did what.

-- A token is known by the SHA-256 of what its holder sends; the token itself is shown once and kept nowhere.
create table rollcall.api_tokens (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references public.organizations (id) on delete cascade,
    name text not null,
    hash bytea not null unique,
    scopes text[] not null check (scopes <@ '{read,operate,secrets,admin}'),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
create index api_tokens_organization_id_idx on rollcall.api_tokens (organization_id);

-- Requests with an Idempotency-Key, for a day. Without a status it is being worked on.
create table rollcall.api_requests (
    organization_id uuid not null references public.organizations (id) on delete cascade,
    key text not null,
    digest bytea not null,
    status smallint,
    answer bytea,
    created_at timestamptz not null default now(),
    primary key (organization_id, key)
);
create index api_requests_created_at_idx on rollcall.api_requests (created_at);

-- Who created, changed, tested or read what: integrations, tokens, credentials. No foreign keys: a row outlives its subject.
create table rollcall.audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    organization_id uuid not null,
    actor text not null,
    action text not null,
    subject uuid not null,
    name text not null,
    address text,
    agent text
);
create index audit_at_idx on rollcall.audit (at);
create index audit_organization_id_idx on rollcall.audit (organization_id, at);

-- The addresses that an operator gave integrations by the command line (ingest/egress/address.py): such a row may name an
-- address of this machine. It is compared with the row at each use, so whoever changes the row's address later loses it.
-- The API's role has no right on this table, and the platform does not know it.
create table rollcall.operator_addresses (
    integration_id uuid primary key references public.device_integrations (id) on delete cascade,
    address text not null,
    set_at timestamptz not null default now()
);
