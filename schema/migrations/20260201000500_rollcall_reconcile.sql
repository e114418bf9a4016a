-- Reconciliation: each run with its counts, and what a run has listed and not applied yet.
create table if not exists rollcall.reconcile_runs (
    id uuid primary key,
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    trigger text not null,
    status text not null default 'running',
    phase text not null default 'listing',
    dry_run boolean not null default false,
    complete boolean not null default true,
    holder text not null,
    cursor text,
    started_at timestamptz not null default clock_timestamp(),
    moved_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    listed bigint not null default 0,
    matched bigint not null default 0,
    created bigint not null default 0,
    changed bigint not null default 0,
    unchanged bigint not null default 0,
    unknown bigint not null default 0,
    missing bigint not null default 0,
    conflicts bigint not null default 0,
    pushed bigint not null default 0,
    detail text not null default '',
    errors jsonb not null default '[]'
);
create index if not exists reconcile_runs_started_at_idx on rollcall.reconcile_runs (integration_id, started_at desc);

-- No foreign key: it would cost more than the rows do. Housekeeping deletes what belongs to no run that goes on.
create table if not exists rollcall.reconcile_staging (
    run_id uuid not null,
    id bigint generated always as identity,
    external_id text not null,
    serial_number text,
    listed_at bigint not null,
    device json not null,
    primary key (run_id, id)
);

-- Since when a listing has not had a device: what was missing before does not make a listing suspicious again.
alter table rollcall.device_identity add column if not exists unlisted_at timestamptz;
