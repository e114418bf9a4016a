-- Rows that configure: the catalog of integrations, and the secrets in their rows.

-- name: integrations
-- all that are active, or $1 whatever its status. A place: which one of its organization's of the kind it is, the oldest
-- first; 0 where the operator made it
select n.id, n.name, n.integration_type, n.status, n.project_id, n.base_url, n.api_key_encrypted, n.settings,
    coalesce(n.webhook_enabled, false) as webhook_enabled, n.webhook_secret, a.address as operator_address,
    k.secret as session_secret, case when a.integration_id is null then n.of_mqtt else 0 end as mqtt_place,
    case when a.integration_id is null then n.of_webhooks else 0 end as webhook_place
from (
    select i.*, pg_catalog.row_number() over (
            partition by i.organization_id, i.status = 'active', i.integration_type = 'mqtt' order by i.created_at, i.id) as of_mqtt,
        pg_catalog.row_number() over (
            partition by i.organization_id, i.status = 'active', i.webhook_enabled order by i.created_at, i.id) as of_webhooks
    from public.device_integrations i
    where case when $1::uuid is null then i.status = 'active'
        else i.organization_id = (select o.organization_id from public.device_integrations o where o.id = $1) end) as n
left join rollcall.operator_addresses a on a.integration_id = n.id
left join rollcall.mqtt_names k on k.integration_id = n.id
where $1::uuid is null or n.id = $1
order by n.id;

-- name: name_sessions
insert into rollcall.mqtt_names (integration_id) select i.id from public.device_integrations i
where i.id = any ($1::uuid[]) order by 1 on conflict do nothing;

-- name: stored_secrets
select id, name, api_key_encrypted as api_key, settings ->> 'password' as password, webhook_secret,
    settings #>> '{webhook,secret}' as webhook, settings #>> '{webhook,previous_secret}' as previous_webhook,
    settings #>> '{tls,ca}' as tls_ca, settings #>> '{tls,cert}' as tls_cert, settings #>> '{tls,key}' as tls_key,
    settings #>> '{nats,creds}' as nats_creds, settings #>> '{nats,nkey}' as nats_nkey
from public.device_integrations where id > $1 order by id limit $2;

-- name: replace_api_key
update public.device_integrations set api_key_encrypted = $3 where id = $1 and api_key_encrypted = $2;

-- name: replace_webhook_secret
update public.device_integrations set webhook_secret = $3 where id = $1 and webhook_secret = $2;

-- name: replace_setting
update public.device_integrations set settings = pg_catalog.jsonb_set(settings, $4::text[], pg_catalog.to_jsonb($3::text))
where id = $1 and settings #>> $4::text[] = $2;
