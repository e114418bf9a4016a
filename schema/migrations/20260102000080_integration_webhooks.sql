alter table public.device_integrations
    add column if not exists webhook_enabled boolean,
    add column if not exists webhook_secret text;
