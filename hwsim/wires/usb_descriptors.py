"""USB descriptors as pyusb wants them: attributes instead of bytes.

Source: USB 2.0, chapter 9.6; pyusb 1.3 usb/backend/__init__.py.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

DT_CONFIGURATION, DT_INTERFACE, DT_ENDPOINT = 2, 4, 5
DEVICE_FIELDS = [
    "bLength",
    "bDescriptorType",
    "bcdUSB",
    "bDeviceClass",
    "bDeviceSubClass",
    "bDeviceProtocol",
    "bMaxPacketSize0",
    "idVendor",
    "idProduct",
    "bcdDevice",
    "iManufacturer",
    "iProduct",
    "iSerialNumber",
    "bNumConfigurations",
]
CONFIGURATION_FIELDS = [
    "bLength",
    "bDescriptorType",
    "wTotalLength",
    "bNumInterfaces",
    "bConfigurationValue",
    "iConfiguration",
    "bmAttributes",
    "bMaxPower",
]
INTERFACE_FIELDS = [
    "bLength",
    "bDescriptorType",
    "bInterfaceNumber",
    "bAlternateSetting",
    "bNumEndpoints",
    "bInterfaceClass",
    "bInterfaceSubClass",
    "bInterfaceProtocol",
    "iInterface",
]
ENDPOINT_FIELDS = ["bLength", "bDescriptorType", "bEndpointAddress", "bmAttributes", "wMaxPacketSize", "bInterval"]
LAYOUTS = {DT_CONFIGURATION: "<BBHBBBBB", DT_INTERFACE: "<9B", DT_ENDPOINT: "<BBBBHB"}
FIELDS = {DT_CONFIGURATION: CONFIGURATION_FIELDS, DT_INTERFACE: INTERFACE_FIELDS, DT_ENDPOINT: ENDPOINT_FIELDS}
DEVICE_LAYOUT = "<BBHBBBBHHHBBBB"


def device_fields(raw: bytes, address: int) -> SimpleNamespace:
    """A device descriptor (18 bytes) at this address of bus 1."""
    values = struct.unpack(DEVICE_LAYOUT, raw)
    place = {"bus": 1, "address": address, "port_number": address, "port_numbers": (address,), "speed": 3}
    return SimpleNamespace(**dict(zip(DEVICE_FIELDS, values, strict=True)), **place)


def described(data: bytes, kind: int) -> list[SimpleNamespace]:
    """The descriptors of one kind in a configuration; class descriptors hang at the one before them, as libusb
    gives them."""
    found: list[SimpleNamespace] = []
    last = SimpleNamespace(extra_descriptors=[])
    at = 0
    while at < len(data):
        raw = data[at : at + data[at]]
        if raw[1] in LAYOUTS:
            values = struct.unpack(LAYOUTS[raw[1]], raw)
            last = SimpleNamespace(**dict(zip(FIELDS[raw[1]], values, strict=True)), extra_descriptors=[])
            found += [last] if raw[1] == kind else []
        else:
            last.extra_descriptors.extend(raw)
        at += len(raw)
    return found


def interface_of(data: bytes, number: int, setting: int) -> SimpleNamespace:
    """An interface's descriptor. Raises IndexError where there is none."""
    return [each for each in described(data, DT_INTERFACE) if each.bInterfaceNumber == number][setting]


def endpoint_of(data: bytes, number: int) -> SimpleNamespace:
    """An endpoint's descriptor, counted through: each simulated device has one interface with one setting."""
    endpoint = described(data, DT_ENDPOINT)[number]
    endpoint.bRefresh = endpoint.bSynchAddress = 0
    return endpoint
