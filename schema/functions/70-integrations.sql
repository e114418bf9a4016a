-- Changes of integrations reach the service at once.

-- Tell the service which integration changed; only where a column changed that configures it.
create or replace function rollcall.notify_integration()
returns trigger language plpgsql as $$
begin
    perform pg_catalog.pg_notify('rollcall_integrations', coalesce(new.id, old.id)::text);
    return null;
end $$;

create or replace trigger rollcall_integration_added
    after insert or delete on public.device_integrations
    for each row execute function rollcall.notify_integration();

create or replace trigger rollcall_integration_changed
    after update on public.device_integrations
    for each row when (
        (old.integration_type, old.name, old.project_id, old.base_url, old.settings, old.status, old.api_key_encrypted,
            old.webhook_enabled, old.webhook_secret)
        is distinct from (new.integration_type, new.name, new.project_id, new.base_url, new.settings, new.status,
            new.api_key_encrypted, new.webhook_enabled, new.webhook_secret))
    execute function rollcall.notify_integration();
