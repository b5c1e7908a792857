"""Texts that are published: where, their SHA-256 and counts, and how the reports read them."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxrnn.data.reading import ReadingOptions

_RAW = "https://raw.githubusercontent.com"
_UVADLC = f"{_RAW}/uvadlc/DL_assignments_2019/b396da3ef01084e06eb8d6791f354c8afa8fafbd/assignment_2/part2/assets"


@dataclass(frozen=True)
class Archive:
    """The zip file that a text is published in: its address, SHA-256 and size; the member has the text's file name."""

    address: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class KnownText:
    """One published text. The counts hold for its own reading options; without a SHA-256 it is never downloaded."""

    name: str
    description: str
    address: str
    file_name: str
    sha256: str | None
    bytes: int | None
    characters: int | None
    distinct: int | None
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    archive: Archive | None = None


KNOWN_TEXTS = (
    KnownText(
        name="tinyshakespeare",
        description="a selection of Shakespeare's plays, as used by char-rnn",
        address=f"{_RAW}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        file_name="tinyshakespeare.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        bytes=1_115_394,
        characters=1_115_394,
        distinct=65,
    ),
    KnownText(
        name="warpeace",
        description="Tolstoy, War and Peace, as prepared for char-rnn",
        address=f"{_RAW}/PacktPublishing/Python-Machine-Learning-By-Example-Third-Edition/"
        "1862fafca270d5b5f240d6c19792c371d8682b7a/chapter13/warpeace_input.txt",
        file_name="warpeace.txt",
        sha256="fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e",
        bytes=3_258_246,
        characters=3_196_213,
        distinct=83,
        reading=ReadingOptions(newlines="universal", byte_order_mark="keep"),
    ),
    KnownText(
        name="democracy",
        description="Tocqueville, Democracy in America, volume 1",
        address=f"{_UVADLC}/book_EN_democracy_in_the_US.txt",
        file_name="democracy.txt",
        sha256="1ba23c5acbb00b0ffbfe48be30273f5b965eaedca5e8dfce55253e6bb24f2ca5",
        bytes=1_148_437,
        characters=1_148_435,
        distinct=84,
        reading=ReadingOptions(byte_order_mark="keep"),
    ),
    KnownText(
        name="grimm",
        description="Grimms' Fairy Tales",
        address=f"{_UVADLC}/book_EN_grimms_fairy_tails.txt",
        file_name="grimm.txt",
        sha256="e6439bd511820742e842e21b75e89b394d3809eec82ca56b506c39ff39d4a7d6",
        bytes=550_595,
        characters=540_241,
        distinct=87,
        reading=ReadingOptions(byte_order_mark="keep"),
    ),
    KnownText(  # its SHA-256 is published nowhere that we know of
        name="linux",
        description="Linux kernel source, as prepared for char-rnn, about 6.2 million characters",
        address="https://cs.stanford.edu/people/karpathy/char-rnn/linux_input.txt",
        file_name="linux_input.txt",
        sha256=None,
        bytes=None,
        characters=None,
        distinct=None,
    ),
    KnownText(
        name="enwik8",
        description="the first 100 million bytes of an English Wikipedia dump, read as bytes",
        address="https://mattmahoney.net/dc/textdata.html",
        file_name="enwik8",
        sha256="2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        bytes=100_000_000,
        characters=100_000_000,
        distinct=205,
        reading=ReadingOptions(bytes_mode=True),
        archive=Archive(
            "https://mattmahoney.net/dc/enwik8.zip",
            "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
            36_445_475,
        ),
    ),
    KnownText(
        name="text8",
        description="100 million characters of English Wikipedia, only a to z and spaces",
        address="https://mattmahoney.net/dc/textdata.html",
        file_name="text8",
        sha256="6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
        bytes=100_000_000,
        characters=100_000_000,
        distinct=27,
        archive=Archive(
            "https://mattmahoney.net/dc/text8.zip",
            "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
            31_344_016,
        ),
    ),
)
