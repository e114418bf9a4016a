-- Reconciliation: each run with its counts, and what a run has listed and not applied yet.
create table rollcall.reconcile_runs (
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
create index reconcile_runs_started_at_idx on rollcall.reconcile_runs (integration_id, started_at desc);

-- No foreign key: it would cost more than the rows do. Housekeeping deletes what belongs to no run that goes on.
--
-- Most entries of a listing say what they said before, or that the device was seen again: such are applied set-wise out of
-- staging, without being decoded (see ingest/reconcile/unchanged.py). `digest` tells what was said besides: NULL where the
-- facts have no time, or where something was wrong with the entry. An `_at` that is NULL means that the provider gave none.
create table rollcall.reconcile_staging (
    run_id uuid not null,
    id bigint generated always as identity,
    external_id text not null,
    serial_number text,
    listed_at bigint not null,
    device json not null,
    digest bigint,
    online_at bigint,
    offline_at bigint,
    battery int,
    battery_at bigint,
    signal int,
    signal_at bigint,
    components text[],
    versions text[],
    version_ats bigint[],
    primary key (run_id, id)
);
