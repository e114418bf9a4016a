create function decrypt_device_credential(credential uuid) returns text language sql security definer as $$
    select convert_from(decode(encrypted_secret, 'base64'), 'utf8') from device_credentials where id = credential
$$;
