create unique index idx_devices_serial_number_unique on devices (serial_number) where serial_number is not null;
