"""What `reversalctl provision` asks, in both languages, and which answers will do.

An answer must match the pattern of its key in the configuration's schema, so that the two cannot disagree.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.config_devices import Checkout, DeviceConfig
from agent.config_lane import Lane, Tls
from agent.config_schema import Agent, Policy
from agent.texts import Text
from protocol.frozen import dataclass
from protocol.profile import load_profile, profile_names

Answers = dict[str, str]
YES, NO = "yes", "no"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask. `choices` are offered; `wanted` says from the answers before whether it is asked at all.

    `section` and `key`: whose pattern in the configuration's schema the answer must match; `pattern`: that of an answer
    which only the trial needs.
    """

    name: str
    text: Text
    section: type[Any] | None = None
    key: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False
    secret: bool = False
    wanted: Callable[[Mapping[str, str]], bool] = lambda answers: True
    pattern: str = ""

    def objection(self, answer: str) -> str:
        """Why the answer will not do; empty: it will."""
        if not answer:
            return "" if self.optional else "an answer is needed / 必须填写"
        if self.choices and answer not in self.choices:
            return " | ".join(self.choices)
        if self.pattern and not re.fullmatch(self.pattern, answer):
            return self.pattern
        if self.section is None or self.choices:
            return ""
        known = next(one for one in dataclasses.fields(self.section) if one.name == self.key).metadata["key"]
        if known.kind == "path":
            return "" if Path(answer).is_absolute() else "an absolute path / 绝对路径"
        if known.kind == "integer":
            return "" if answer.isdigit() and known.low <= int(answer) <= known.high else str(known.range)
        parts = split(answer) if known.kind == "list of texts" else [answer]
        fits = all(re.fullmatch(known.pattern, part) for part in parts) if known.pattern else True
        return "" if fits else str(known.shape)


def _has(name: str) -> Callable[[Mapping[str, str]], bool]:
    return lambda answers: bool(answers.get(name))


def _is(name: str, value: str) -> Callable[[Mapping[str, str]], bool]:
    return lambda answers: answers.get(name) == value


def _may_sign_on(answers: Mapping[str, str]) -> bool:
    return answers.get("mac") != "none" and bool(load_profile(answers["profile"]).session.messages)


def _asks_key(answers: Mapping[str, str]) -> bool:
    return answers.get("mac") == "software" and answers.get("sign_on") != YES


QUESTIONS: tuple[Question, ...] = (
    Question("language", Text("Language of this terminal", "本终端语言"), Agent, "language", "en", ("en", "zh")),
    Question(
        "socket_group", Text("Group of the tills' programs", "收银程序所属用户组"), Agent, "socket_group", optional=True
    ),
    Question(
        "confirm",
        Text("An approved sale is complete", "交易批准后何时完成"),
        Policy,
        "confirm",
        "on-approval",
        ("on-approval", "by-application"),
    ),
    Question("name", Text("Name of the lane", "通道名称"), Lane, "name", "till-1"),
    Question("profile", Text("Host dialect", "主机报文规范"), Lane, "profile", "unionpay-pos", tuple(profile_names())),
    Question("terminal_id", Text("Terminal id (8)", "终端号（8 位）"), Lane, "terminal_id"),
    Question("merchant_id", Text("Merchant id (15)", "商户号（15 位）"), Lane, "merchant_id"),
    Question("currency", Text("Currency (ISO 4217 number)", "币种（ISO 4217 数字）"), Lane, "currency", "156"),
    Question("hosts", Text("Hosts, address:port, in order", "主机 地址:端口，按顺序"), Lane, "hosts"),
    Question("tls", Text("TLS towards the hosts", "与主机使用 TLS"), default=NO, choices=(YES, NO)),
    Question(
        "tls_ca_file",
        Text("File with the CA (PEM); empty: pins only", "CA 证书文件（PEM）；留空则只用指纹"),
        Tls,
        "ca_file",
        optional=True,
        wanted=_is("tls", YES),
    ),
    Question(
        "tls_pins",
        Text("Pins of the host's key (SHA-256)", "主机公钥指纹（SHA-256）"),
        Tls,
        "pin_sha256",
        optional=True,
        wanted=_is("tls", YES),
    ),
    Question(
        "mac",
        Text("Who computes the MAC", "MAC 由谁计算"),
        Lane,
        "mac",
        "none",
        ("none", "pinpad", "software"),
    ),
    Question(
        "sign_on",
        Text("Sign on by itself (keys from the host)", "自动签到（密钥由主机下发）"),
        None,
        "",
        NO,
        choices=(YES, NO),
        wanted=_may_sign_on,
    ),
    Question(
        "mac_key_file",
        Text("File with the MAC key (0600)", "MAC 密钥文件（0600）"),
        Lane,
        "mac_key_file",
        wanted=_asks_key,
    ),
    Question(
        "master_key_file",
        Text("File with the master key (0600)", "主密钥文件（0600）"),
        Lane,
        "master_key_file",
        wanted=lambda answers: answers.get("mac") == "software" and answers.get("sign_on") == YES,
    ),
    Question(
        "mac_key",
        Text("MAC working key, encrypted, from the bank", "银行提供的 MAC 工作密钥（密文）"),
        Lane,
        "mac_key",
        secret=True,
        wanted=lambda answers: answers.get("mac") == "pinpad" and answers.get("sign_on") != YES,
    ),
    Question(
        "mac_key_check",
        Text(
            "Check value of the MAC key, from the bank; empty: not compared", "银行提供的 MAC 密钥校验值；留空则不核对"
        ),
        pattern="[0-9A-Fa-f]{4,8}",
        optional=True,
        wanted=lambda answers: answers.get("mac") != "none" and answers.get("sign_on") != YES,
    ),
    Question(
        "pinpad_port",
        Text("Port of the PIN pad; empty: none", "密码键盘端口；留空表示没有"),
        DeviceConfig,
        "port",
        optional=True,
    ),
    Question(
        "pinpad_master_key",
        Text("Number of the master key in the PIN pad", "密码键盘中的主密钥索引"),
        Lane,
        "pinpad_master_key",
        default="0",
        wanted=_has("pinpad_port"),
    ),
    Question(
        "pin_key",
        Text(
            "PIN working key, encrypted, from the bank; empty: no PIN",
            "银行提供的 PIN 工作密钥（密文）；留空则不输密码",
        ),
        Lane,
        "pin_key",
        optional=True,
        secret=True,
        wanted=lambda answers: bool(answers.get("pinpad_port")) and answers.get("sign_on") != YES,
    ),
    Question(
        "reader_port",
        Text("Port of the card reader; empty: none", "读卡器端口；留空表示没有"),
        DeviceConfig,
        "port",
        optional=True,
    ),
    Question(
        "reader_driver",
        Text("Driver of the card reader", "读卡器驱动"),
        DeviceConfig,
        "driver",
        "ccid-serial",
        choices=("ccid-serial", "ccid-usb", "neo2"),
        wanted=_has("reader_port"),
    ),
    Question(
        "printer_port",
        Text("Port of the printer; empty: none", "打印机端口；留空表示没有"),
        DeviceConfig,
        "port",
        optional=True,
    ),
    Question(
        "printer_columns",
        Text("Characters on a line", "每行字符数"),
        DeviceConfig,
        "columns",
        "32",
        wanted=_has("printer_port"),
    ),
    Question(
        "merchant_name",
        Text("Merchant's name on slips", "凭条上的商户名称"),
        Checkout,
        "merchant_name",
        optional=True,
        wanted=_has("reader_port"),
    ),
)


def check_answers(given: Mapping[str, str]) -> tuple[Answers, list[str]]:
    """The complete answers of a file, and everything that is wrong with them."""
    answers: Answers = {}
    wrong = [f"{name}: unknown" for name in given if name not in {question.name for question in QUESTIONS}]
    for question in QUESTIONS:
        if not question.wanted({"profile": "unionpay-pos", **answers}):
            if given.get(question.name):
                wrong.append(f"{question.name}: not asked for with these answers")
            continue
        answer = given.get(question.name, question.default)
        if objection := question.objection(answer):
            wrong.append(f"{question.name}: {objection}")
        else:
            answers[question.name] = answer
    return answers, wrong


def split(text: str) -> list[str]:
    """A list as it is typed: with commas or blanks between."""
    return [part for part in re.split(r"[,\s]+", text) if part]
