-- no transaction
-- unless: select rollcall.has_index('public.device_credential_access_log', 'btree', '{credential_id}')
create index concurrently if not exists device_credential_access_log_credential_id_idx
    on public.device_credential_access_log (credential_id);
