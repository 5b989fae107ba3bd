"""Files are there whole or not at all."""

import hashlib

from operators.results.files import write_atomically


def test_writes_the_bytes_and_tells_their_digest(tmp_path):
    path = tmp_path / "folder" / "file.bin"
    assert write_atomically(path, [b"a", b"bc"]) == hashlib.sha256(b"abc").hexdigest()
    assert path.read_bytes() == b"abc"


def test_replaces_what_was_there_and_leaves_no_part(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, [b"old and longer"])
    write_atomically(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]
