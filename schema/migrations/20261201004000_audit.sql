-- Who created, changed, tested or read what: integrations, tokens, credentials. No foreign keys: a row outlives its subject.
create table if not exists rollcall.audit (
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
create index if not exists audit_at_idx on rollcall.audit (at);
create index if not exists audit_organization_id_idx on rollcall.audit (organization_id, at);
