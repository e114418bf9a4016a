"""AWS IoT Core through aiobotocore, which the extra `aws` brings. Imported when used."""
