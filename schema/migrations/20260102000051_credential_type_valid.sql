-- Rows that break it are mended by: update public.device_credentials set credential_type = one of 'PRE_SHARED_KEY', 'CERTIFICATE', 'TOKEN'
--     where it is something else
select rollcall.validate_constraint('public.device_credentials', 'device_credentials_credential_type_check');
