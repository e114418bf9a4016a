-- The service encrypts and decrypts; the database never sees a clear text. An older function that base64-decodes
-- secrets is left for old readers of old rows; it can tell nothing about what Rollcall writes.
comment on column public.device_credentials.encrypted_secret is
    'Encrypted by the service (AES-GCM, with the key id); decrypted there too, after a row in device_credential_access_log';
