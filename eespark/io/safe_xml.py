"""Metadata of SAFE products: XML from outside, numbers and times in it, sizes of files against the manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from eespark.errors import FormatError, MissingError

MAX_XML_BYTES: Final = 64 * 1024 * 1024


def manifest_sizes(names: list[str], read: Callable[[str], bytes]) -> dict[str, int]:
    """Size in bytes of each file that manifest.safe lists, by its path below the .SAFE folder.

    Raises:
        MissingError: There is no manifest.
        FormatError: It is not XML.
    """
    root = parse_member("manifest.safe", names, read)
    sizes = {}
    for stream in root.iter("byteStream"):
        location = stream.find("fileLocation")
        if location is not None and stream.get("size", "").isdigit():
            sizes[location.get("href", "").removeprefix("./")] = int(stream.get("size", "0"))
    return sizes


def check_sizes(expected: Mapping[str, int], found: Mapping[str, int], needed: list[str]) -> None:
    """Compare the sizes of the files that are needed with those of the manifest; a file that it does not list passes.

    Raises:
        FormatError: One differs or is absent.
    """
    faults = [name for name in needed if name in expected and found.get(name) != expected[name]]
    if faults:
        name = faults[0]
        told = f"{name}: manifest.safe says {expected[name]} bytes, found {found.get(name, 'no file')}"
        raise FormatError(f"{len(faults)} file(s) differ from the manifest: {told}; fetch the product again")


def parse_xml(content: bytes, where: str) -> Element:
    """The root element of XML from outside.

    Raises:
        FormatError: Not XML, more than `MAX_XML_BYTES`, or XML that attacks its reader.
    """
    if len(content) > MAX_XML_BYTES:
        raise FormatError(f"{where}: needed metadata below {MAX_XML_BYTES} bytes, found {len(content)}")
    try:
        return fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException) as error:
        raise FormatError(f"{where}: needed plain XML, found {type(error).__name__}: {error}; fetch the product again") from error


def parse_member(file_name: str, names: list[str], read: Callable[[str], bytes]) -> Element:
    """The root element of a metadata file of a product.

    Args:
        file_name: Its name, wherever it lies in the product.
        names: Paths in the product.
        read: Gives the bytes of one of them.

    Raises:
        MissingError: There is none.
        FormatError: It cannot be read.
    """
    path = next((n for n in sorted(names, key=len) if n == file_name or n.endswith("/" + file_name)), None)
    if path is None:
        raise MissingError(f"needed {file_name}, found no such file in the product; fetch it again")
    return parse_xml(read(path), path)


def find_text(root: Element, tag: str, product_id: str, *, required: bool = True) -> str:
    """Text of the first element of that name, whatever its namespace; empty where it is absent and not required.

    Raises:
        MissingError: It is absent or empty, and required.
    """
    element = next((e for e in root.iter() if e.tag.rsplit("}", 1)[-1] == tag), None)
    text = (element.text or "").strip() if element is not None else ""
    if not text and required:
        raise MissingError(f"{product_id}: needed <{tag}> in the metadata, found none; fetch the product again")
    return text


def number(text: str, tag: str, product_id: str) -> float:
    """A number of an element.

    Raises:
        FormatError: It is none, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{product_id}: needed a number in <{tag}>, found {text!r}; fetch the product again")
    return value


def utc_time(text: str, tag: str, product_id: str) -> datetime:
    """A time of an element; one without a zone is UTC in these products, never the reader's own.

    Raises:
        FormatError: It is no ISO time.
    """
    try:
        value = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise FormatError(f"{product_id}: needed an ISO time in <{tag}>, found {text!r}; fetch the product again") from error
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
