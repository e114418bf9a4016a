-- What people ask for by the API and the command line.

-- name: dead_letters_to_replay
select d.id, d.session, d.topic, d.payload, d.qos, d.retain, d.received_at, d.content_type, d.truncated, d.kind, d.headers,
    i.id as integration_id, i.name, i.settings
from rollcall.dead_letters d join public.device_integrations i on i.id = d.integration_id
where d.id = any ($1::uuid[]) order by d.received_at, d.id;
