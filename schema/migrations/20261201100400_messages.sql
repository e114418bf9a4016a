-- What came in and became no row of a device, and the counts and limits of it.

-- Messages that could not be understood or were refused by the database, whole, with the reason.
create table rollcall.dead_letters (
    id uuid primary key,
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    session text not null,
    topic text not null,
    qos smallint not null,
    retain boolean not null,
    content_type text,
    headers jsonb not null default '{}',
    received_at bigint not null,
    kind text not null,
    error text not null,
    payload bytea not null,
    truncated boolean not null default false,
    recorded_at timestamptz not null default now()
);
create index dead_letters_kind_idx on rollcall.dead_letters (integration_id, kind, recorded_at);

-- Ids without a row under the policy `park`, with what they said.
create table rollcall.parked_devices (
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    external_device_id text not null,
    key jsonb not null default '{}',
    evidence jsonb not null,
    messages bigint not null default 0,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    primary key (integration_id, external_device_id)
);

-- Counts that outlive the process: creations against their caps, what was evicted or dropped.
create table rollcall.integration_counts (
    integration_id uuid primary key references public.device_integrations (id) on delete cascade,
    created_total bigint not null default 0,
    created_in_minute int not null default 0,
    minute timestamptz not null default date_trunc('minute', now()),
    dead_letters_evicted bigint not null default 0,
    unknown_dropped bigint not null default 0
);

-- The ids of the webhook events that were committed in the last day: one that comes again is answered, not applied.
create table rollcall.webhook_events (
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    event_id text not null,
    committed_at timestamptz not null default now(),
    primary key (integration_id, event_id)
);
create index webhook_events_committed_at_idx on rollcall.webhook_events (committed_at);
