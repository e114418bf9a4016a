-- How integrations are heard, by whom, and what a session has committed.

-- How an integration is heard: an MQTT session, or the listings of its provider. `fresh_for` (microseconds) after
-- heard_until it counts as not heard.
--
-- epoch: each time that a process takes up an MQTT session it grows, and a commit names the epoch that it belongs to. So what
-- another process still has in hand of that session, after its lease has ended, is not applied beside what comes again.
--
-- committed: the newest commit of each session that held digests: a commit that was sent ahead of its turn applies
-- only behind the one before it.
--
-- gap_since: the beginning of the newest gap in hearing: heard_until of the session that the broker lost. A
-- retained `offline` that is read because of a subscription is no older than that. NULL: it was never lost.
create table rollcall.mqtt_sessions (
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
    epoch bigint not null default 0,
    committed bigint,
    gap_since bigint,
    unique (integration_id, client_id)
) with (fillfactor = 70);

-- The unguessable part of the client ids and share groups of an integration's MQTT sessions: who knows them can take messages away.
-- A row is made when the integration is first read. Deleted, it is made anew: the sessions under the former names are retired.
create table rollcall.mqtt_names (
    integration_id uuid primary key references public.device_integrations (id) on delete cascade,
    secret text not null default replace(gen_random_uuid()::text, '-', '')
);

-- What a session has committed, so that a redelivery is known as one.
create table rollcall.mqtt_digests (
    session_id bigint not null references rollcall.mqtt_sessions (id) on delete cascade,
    seq bigint not null,
    digests bytea not null,
    primary key (session_id, seq)
);

create table rollcall.mqtt_received (
    session_id bigint not null references rollcall.mqtt_sessions (id) on delete cascade,
    packet_id int not null,
    digest bigint not null,
    primary key (session_id, packet_id)
);

-- Which process does what only one may do, and which replicas live.
create table rollcall.leases (
    name text primary key,
    holder text not null,
    expires_at timestamptz not null
);
