-- The unguessable part of the client ids and share groups of an integration's MQTT sessions: who knows them can take messages away.
-- A row is made when the integration is first read. Deleted, it is made anew: the sessions under the former names are retired.
create table if not exists rollcall.mqtt_names (
    integration_id uuid primary key references public.device_integrations (id) on delete cascade,
    secret text not null default replace(gen_random_uuid()::text, '-', '')
);

-- The beginning of the newest gap in hearing: heard_until of the session that the broker lost. A retained `offline` that is read because
-- of a subscription is no older than that. NULL: it was never lost.
alter table rollcall.mqtt_sessions add column if not exists gap_since bigint;
