-- The ids of the webhook events that were committed in the last day: one that comes again is answered, not applied.
create table if not exists rollcall.webhook_events (
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    event_id text not null,
    committed_at timestamptz not null default now(),
    primary key (integration_id, event_id)
);
create index if not exists webhook_events_committed_at_idx on rollcall.webhook_events (committed_at);
