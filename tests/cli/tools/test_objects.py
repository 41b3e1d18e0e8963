# SPDX-License-Identifier: GPL-2.0-or-later
"""--object, against qemu-img."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.objects import UserObjects, secret

TEXTS = [
    "secret",
    "foo",
    "",
    "secret,id=s0",
    "secret,id=s0,data=x",
    "secret,id=s0,file=/nonexistent",
    "secret,id=1,data=x",
    "secret,data=x",
    "secret,id=a,data=x,foo=y",
    "secret,id=a,data=x,format=foo",
    "secret,id=a,data=!!,format=base64",
    "secret,id=a,data=YWJj,format=base64",
    "qom-type=secret,id=a,data=x",
    '{"qom-type":"secret","id":"a","data":"x"}',
    '{"id":"x"}',
    "{",
    "iothread,id=i",
    "throttle-group,id=a,x-iops-total=10",
    "throttle-group,id=a,x-iops-total=foo",
    "throttle-group,id=a,foo=foo",
    "tls-creds-x509,id=a,dir=/tmp,endpoint=foo",
]


@pytest.mark.parametrize("text", TEXTS)
def test_object_is_taken_or_refused_as_by_qemu_img(text: str, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"")
    words = ["qemu-img", "info", "-f", "raw", "--object", text, str(tmp_path / "disk")]
    theirs = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        UserObjects().add(text)
        ours = ""
    except ToolError as error:
        ours = "".join(f"qemu-img: {message}\n" for message in error.messages) + (
            f"{error.hint}\n" if error.hint else ""
        )
    assert ours == theirs.stderr


def test_object_with_a_pre_shared_key_is_refused_in_one_line() -> None:
    with pytest.raises(ToolError, match=r"^tls-creds-psk is not supported: use tls-creds-x509$"):
        UserObjects().add("tls-creds-psk,id=t,dir=/tmp,endpoint=server")


def test_second_object_of_a_name_is_refused() -> None:
    objects = UserObjects()
    objects.add("secret,id=a,data=x")
    with pytest.raises(ToolError, match="attempt to add duplicate property 'a' to object"):
        objects.add("secret,id=a,data=y")


def test_secret_of_a_file_is_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\n")
    objects = UserObjects()
    objects.add(f"secret,id=a,file={tmp_path}/key")
    found = objects.find("secret", "a")
    assert found is not None
    assert secret(found) == b"\xff\n"


def test_object_of_another_type_is_not_found() -> None:
    objects = UserObjects()
    objects.add("secret,id=a,data=x")
    assert objects.find("throttle-group", "a") is None
    assert [each.identity for each in objects.all("secret")] == ["a"]
