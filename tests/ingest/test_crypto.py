import base64

import pytest
from pydantic import SecretStr

from ingest.crypto import Keyring, is_encrypted
from ingest.errors import Misconfigured, SecretUnreadable

OLD = "k1:" + base64.b64encode(b"1" * 32).decode()
NEW = "k2:" + base64.b64encode(b"2" * 32).decode()


def ring(*keys):
    return Keyring.from_setting(SecretStr(",".join(keys)))


def test_what_was_encrypted_comes_back_in_its_own_place():
    stored = ring(OLD).encrypt("hunter2", "plant/password")
    assert stored.startswith("rc1:k1:")
    assert is_encrypted(stored)
    assert "hunter2" not in stored
    assert ring(OLD).decrypt(stored, "plant/password") == "hunter2"


def test_the_same_text_is_never_encrypted_to_the_same():
    keyring = ring(OLD)
    assert len({keyring.encrypt("hunter2", "c") for _ in range(100)}) == 100


def test_a_secret_that_was_copied_to_another_place_is_unreadable():
    stored = ring(OLD).encrypt("hunter2", "plant/password")
    with pytest.raises(SecretUnreadable, match="other/password"):
        ring(OLD).decrypt(stored, "other/password")


def test_the_first_key_encrypts_and_the_older_ones_still_decrypt():
    stored = ring(OLD).encrypt("hunter2", "c")
    rotated = ring(NEW, OLD)
    assert rotated.decrypt(stored, "c") == "hunter2"
    assert rotated.encrypt("hunter2", "c").startswith("rc1:k2:")


def test_the_missing_key_is_named():
    with pytest.raises(SecretUnreadable, match="needs the key 'k1'"):
        ring(NEW).decrypt(ring(OLD).encrypt("hunter2", "c"), "c")


@pytest.mark.parametrize("stored", ["rc1:k1:", "rc1:k1:%%%", "rc1:k1:QUJD", "hunter2"])
def test_a_text_that_was_changed_is_unreadable_and_not_a_crash(stored):
    with pytest.raises(SecretUnreadable):
        ring(OLD).decrypt(stored, "c")


def test_without_keys_nothing_can_be_encrypted():
    keyring = Keyring.from_setting(None)
    assert not keyring.can_encrypt
    with pytest.raises(Misconfigured, match="ROLLCALL_KEYS is not set"):
        keyring.encrypt("hunter2", "c")


@pytest.mark.parametrize("setting", ["noid", "k1:%%%", "k1:QUJD", f"{OLD},{OLD}", ":QUJD"])
def test_a_key_that_cannot_be_used_is_refused_without_being_repeated(setting):
    with pytest.raises(Misconfigured) as caught:
        ring(setting)
    assert "QUJD" not in str(caught.value)
