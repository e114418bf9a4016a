-- Rollcall's own tables. Clocks are bigint: microseconds since the Unix epoch, exact, and what the service computes with;
-- the view rollcall.device_clocks shows them as timestamps.
create schema if not exists rollcall;

-- The clocks behind a devices row. One narrow row a device, never indexed on what moves, so that its updates stay HOT.
create table if not exists rollcall.device_state (
    device_id uuid primary key references public.devices (id) on delete cascade,
    online_at bigint,
    offline_at bigint,
    stream_offline_at bigint,
    alive_from bigint,
    alive_before int8multirange,
    silent_at bigint,
    snapshot_online_at bigint,
    snapshot_offline_at bigint,
    battery_at bigint,
    signal_at bigint
) with (fillfactor = 70);

-- Ordered connection events of a cloud (see handlers/sequences.py): three maxima a device and kind of order.
create table if not exists rollcall.device_streams (
    device_id uuid not null references public.devices (id) on delete cascade,
    order_window bigint not null,
    connected_at bigint,
    disconnected_at bigint,
    head_online boolean not null,
    head_at bigint not null,
    head_order text not null,
    primary key (device_id, order_window)
) with (fillfactor = 70);

create table if not exists rollcall.device_identity (
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    external_device_id text not null,
    device_id uuid not null references public.devices (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (integration_id, external_device_id)
);
create index if not exists device_identity_device_id_idx on rollcall.device_identity (device_id);

create table if not exists rollcall.device_firmware (
    device_id uuid not null references public.devices (id) on delete cascade,
    component text not null,
    version text not null,
    at bigint not null,
    floating boolean not null default false,
    primary key (device_id, component)
) with (fillfactor = 70);

create table if not exists rollcall.firmware_points (
    device_id uuid not null references public.devices (id) on delete cascade,
    component text not null,
    version text not null,
    day int not null,
    at bigint not null,
    primary key (device_id, component, version, day)
);

create table if not exists rollcall.device_readings (
    device_id uuid not null references public.devices (id) on delete cascade,
    name text not null,
    value double precision not null,
    unit text not null,
    at bigint not null,
    primary key (device_id, name)
) with (fillfactor = 70);

-- The timeline. `subject` is a device, or the integration for what concerns no known device (parked, gap).
create table if not exists rollcall.device_events (
    subject uuid not null,
    kind text not null,
    component text not null default '',
    at timestamptz not null,
    source text not null,
    recorded_at timestamptz not null default clock_timestamp(),
    retracted_at timestamptz,
    detail jsonb not null default '{}',
    primary key (subject, kind, component, at, source)
);
create index if not exists device_events_subject_at_idx on rollcall.device_events (subject, at desc);
create index if not exists device_events_recorded_at_idx on rollcall.device_events (recorded_at);

-- How an integration is heard: an MQTT session, or the listings of its provider. `fresh_for` (microseconds) after
-- heard_until it counts as not heard.
create table if not exists rollcall.mqtt_sessions (
    id bigint generated always as identity primary key,
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    client_id text not null,
    heard_since bigint,
    heard_until bigint,
    fresh_for bigint not null default 60000000,
    connected_at timestamptz,
    state text not null default 'new',
    detail text not null default '',
    subscriptions jsonb not null default '[]',
    unique (integration_id, client_id)
) with (fillfactor = 70);

create table if not exists rollcall.mqtt_digests (
    session_id bigint not null references rollcall.mqtt_sessions (id) on delete cascade,
    seq bigint not null,
    digests bytea not null,
    primary key (session_id, seq)
);

create table if not exists rollcall.mqtt_received (
    session_id bigint not null references rollcall.mqtt_sessions (id) on delete cascade,
    packet_id int not null,
    digest bigint not null,
    primary key (session_id, packet_id)
);

create table if not exists rollcall.dead_letters (
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
create index if not exists dead_letters_kind_idx on rollcall.dead_letters (integration_id, kind, recorded_at);

create table if not exists rollcall.parked_devices (
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
create table if not exists rollcall.integration_counts (
    integration_id uuid primary key references public.device_integrations (id) on delete cascade,
    created_total bigint not null default 0,
    created_in_minute int not null default 0,
    minute timestamptz not null default date_trunc('minute', now()),
    dead_letters_evicted bigint not null default 0,
    unknown_dropped bigint not null default 0
);

create table if not exists rollcall.leases (
    name text primary key,
    holder text not null,
    expires_at timestamptz not null
);

create or replace view rollcall.device_clocks as
select device_id,
    to_timestamp(online_at / 1e6) as online_at, to_timestamp(greatest(offline_at, stream_offline_at) / 1e6) as offline_at,
    to_timestamp(alive_from / 1e6) as alive_from, to_timestamp(silent_at / 1e6) as silent_at,
    to_timestamp(battery_at / 1e6) as battery_at, to_timestamp(signal_at / 1e6) as signal_at
from rollcall.device_state;
