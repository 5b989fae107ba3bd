"""A patient's name leaves as it came, whatever script and character set it came in."""

import struct

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

from operators.domain import Assessed
from operators.results.headers import patient_and_study
from operators.results.seg import write_seg
from operators.results.sr import write_srs
from operators.study.headers import read_headers

# PS3.5 Annexes H, I and J give the bytes of the Japanese, the Korean and the Chinese names.
CASES = {
    "Japanese, JIS": (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "Japanese, half-width katakana": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J="
        b"\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "Korean": (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "Chinese, GB18030": (b"GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    "Cyrillic": (b"ISO_IR 144", "Толстой^Лев".encode("iso8859_5"), "Толстой^Лев"),
    "Cyrillic by escapes": (
        b"ISO 2022 IR 6\\ISO 2022 IR 144",
        b"Tolstoj^Lev=\x1b-L" + "Толстой".encode("iso8859_5") + b"^\x1b-L" + "Лев".encode("iso8859_5"),
        "Tolstoj^Lev=Толстой^Лев",
    ),
    "Arabic": (b"ISO_IR 127", "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
    "Greek": (b"ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    "Hebrew": (b"ISO_IR 138", "שרון^דבורה".encode("iso8859_8"), "שרון^דבורה"),
    "Thai": (b"ISO_IR 166", "สมชาย^ใจดี".encode("tis-620"), "สมชาย^ใจดี"),
    "UTF-8": (b"ISO_IR 192", "Дворжак^Антонін=ძვალი^ქეთი".encode(), "Дворжак^Антонін=ძვალი^ქეთი"),
    "Latin 1": (b"ISO_IR 100", "Buc^Jérôme".encode("latin-1"), "Buc^Jérôme"),
}


def header_of(folder, character_set, name):
    """The header that the load step reads from a file with these very bytes."""

    def element(group, number, vr, value):
        padded = value + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(padded)) + padded

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.5.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir()
    with (folder / "pet.dcm").open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta)
        for each in (
            element(0x0008, 0x0005, b"CS", character_set),
            element(0x0008, 0x0016, b"UI", str(PositronEmissionTomographyImageStorage).encode()),
            element(0x0008, 0x0018, b"UI", b"1.2.3.5.1"),
            element(0x0010, 0x0010, b"PN", name),
            element(0x0010, 0x0020, b"LO", b"P1"),
            element(0x0020, 0x000D, b"UI", b"1.2.3.1"),
            element(0x0020, 0x000E, b"UI", b"1.2.3.2"),
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2) + bytes(2),
        ):
            file.write(each)
    (instance,), set_aside = read_headers(folder)
    assert not set_aside
    return instance.header


@pytest.mark.parametrize("case", CASES)
def test_a_name_in_any_script_reaches_the_results(make, profile, tmp_path, case):
    character_set, name, expected = CASES[case]
    header = header_of(tmp_path / "in", character_set, name)
    assert str(patient_and_study(header, "1.2.3.1").PatientName) == expected
    assessed = Assessed(make(header={"PatientName": header.PatientName}))
    for file in (*write_srs(assessed, profile, tmp_path), *write_seg(assessed, profile, tmp_path)):
        written = pydicom.dcmread(file.path)
        assert written.SpecificCharacterSet == "ISO_IR 192"
        assert str(written.PatientName) == expected
        assert expected.encode() in file.path.read_bytes()
