"""This module is where a request's text is read: what it is about, and which risks it shows. Pure; nothing is kept.

Every pattern takes time linear in the text: each quantifier is bounded, and none stands within another unbounded one.
Words are looked up whole, word by word, so their number does not matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

LONGEST_TEXT: Final = 131_072
"""Characters that are read of one text; what is longer nobody has read to its end."""

GENERAL: Final = "General"
"""The domain of what is about none of the others."""

PII: Final = "PII"
LEGAL_CONTRACT: Final = "LEGAL_CONTRACT"
PUBLIC_STATEMENT: Final = "PUBLIC_STATEMENT"
FINANCIAL: Final = "FINANCIAL"
SIGNALS: Final = (PII, LEGAL_CONTRACT, PUBLIC_STATEMENT, FINANCIAL)
"""The kinds of risk, in the order in which they are told."""

# Where two domains are as likely, the one that stands first is taken: whatever is more delicate.
_DOMAINS: Final[Mapping[str, str]] = {
    "Legal": "contract, contracts, nda, ndas, agreement, agreements, legal, lawsuit, lawsuits, litigation, attorney, "
    "lawyer, liability, clause, clauses, compliance, ordinance, statute, subpoena, settlement, non disclosure, court, "
    "indemnification",
    "Finance": "invoice, invoices, payment, payments, pay, budget, budgets, transfer, transfers, vendor, vendors, "
    "purchase order, purchase orders, expense, expenses, refund, refunds, reimbursement, tax, taxes, accounting, bank, "
    "wire, accounts payable, revenue, funds, procurement, finance, financial, ledger",
    "HR": "employee, employees, hiring, hire, vacation, leave, payroll, benefits, onboarding, resignation, salary, "
    "salaries, performance review, recruit, recruitment, recruiting, applicant, applicants, candidate, candidates, "
    "overtime, sick day, sick days, pension, personnel, hr, human resources, union negotiations, grievance",
    "Comms": "press, press release, press releases, press conference, media, newsletter, announcement, announcements, "
    "announce, social media, tweet, tweets, facebook, public statement, communications, campaign, journalist, "
    "journalists, reporter, reporters, speech, blog post, outreach",
    "DevOps": "deploy, deploys, deployment, deployments, server, servers, database, databases, kubernetes, docker, "
    "outage, pipeline, pipelines, rollback, logs, cpu, latency, backup, backups, restart, cluster, dns, monitoring, "
    "devops, infrastructure, uptime, ci, cd, container, containers",
}
DOMAINS: Final = (*_DOMAINS, GENERAL)
"""What a text can be about."""

_RISKS: Final[Mapping[str, str]] = {
    PII: "ssn, ssns, social security, date of birth, dob, passport number, passport numbers, driver license, "
    "drivers license, driver s license, home address, home addresses, medical record, medical records, health record, "
    "health records, patient record, patient records, personal data, bank account number, credit card number, "
    "credit card, maiden name, national id, tax id, personally identifiable",
    LEGAL_CONTRACT: "contract, contracts, nda, ndas, agreement, agreements, lawsuit, lawsuits, litigation, liability, "
    "indemnify, indemnification, non disclosure, settlement, memorandum of understanding, mou, terms of service, "
    "warranty, legal action, lease",
    PUBLIC_STATEMENT: "press release, press releases, press conference, press conferences, press statement, "
    "public statement, public statements, public announcement, public announcements, official statement, "
    "media statement, news release, social media, tweet, tweets, facebook post, linkedin post, instagram post, "
    "statement to the press, statement to the media, announce publicly, post publicly, public comment, op ed",
    FINANCIAL: "transfer, transfers, wire, wire transfer, payment, payments, invoice, invoices, refund, refunds, "
    "reimbursement, reimburse, purchase order, purchase orders, disburse, disbursement, bank transfer, "
    "transfer funds, transfer money, payout, payouts",
}

_WORD: Final = re.compile(r"[^\W_]+")
_DIGIT: Final = re.compile(r"\d")
_EMAIL: Final = re.compile(r"[^\s@,;<>]@[^\s@.]{1,63}\.[^\s@.]")
_NUMBERS: Final = (
    ("ssn", re.compile(r"(?<!\d)(?<!\d-)\d{3}[- ]\d{2}[- ]\d{4}(?!\d)(?!-\d)")),
    ("card", re.compile(r"(?<!\d)(?:\d{4}[ -]?){3}\d{4}(?!\d)")),
    (
        "phone",
        re.compile(
            r"(?<![\d.])(?:\+?\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?!\d)"
            r"|\+\d(?:[ ().-]{0,2}\d){7,14}(?!\d)"
        ),
    ),
)
_FEWEST_DIGITS: Final = 8
"""What the shortest of these numbers has."""

_AMOUNT: Final = re.compile(r"[$€£¥] ?\d|\d ?(?:usd|eur|gbp|chf|dollars?|euros?|pounds?)\b")

_UNSEEN: Final = dict.fromkeys([0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)])
_UNSEEN[0xFEFF] = None
_AS_ASCII: Final = {**_UNSEEN, **dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212], "-")}

_UNKNOWN_CONFIDENCE: Final = 0.3
_MOST_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Reading:
    """What one text says: ``folded`` is what keywords are looked for in."""

    folded: str
    domain: str
    confidence: float
    """0 to 1: how sure the domain is; 0.3 where no word speaks for any."""
    signals: tuple[str, ...]
    pii: tuple[str, ...]
    """Which personal data it seems to hold: ssn, card, phone, email, keyword."""


def folded(text: str) -> str:
    """``text`` as texts are compared: without case, widths, marks that nobody sees, and longer gaps than one space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_AS_ASCII)
    return " ".join(text.casefold().split())


def read(text: str, agent_domain: str | None = None) -> Reading:
    """What ``text`` is about and which risks it shows; ``agent_domain`` decides where no word does."""
    plain = folded(text)
    votes: dict[str, int] = {}
    risks: set[str] = set()
    for domains, signals in _phrases_in(_WORD.findall(plain)):
        for one in domains:
            votes[one] = votes.get(one, 0) + 1
        risks.update(signals)
    pii = _personal(plain)
    if PII in risks:
        pii.append("keyword")
    elif pii:
        risks.add(PII)
    if FINANCIAL not in risks and _DIGIT.search(plain) and _AMOUNT.search(plain):
        risks.add(FINANCIAL)
    domain, confidence = _intent(votes, agent_domain)
    return Reading(plain, domain, confidence, tuple(one for one in SIGNALS if one in risks), tuple(pii))


def _intent(votes: Mapping[str, int], agent_domain: str | None) -> tuple[str, float]:
    if not votes:
        return agent_domain or GENERAL, _UNKNOWN_CONFIDENCE
    best = max(votes.values())
    tied = [one for one in DOMAINS if votes.get(one) == best]
    domain = agent_domain if agent_domain in tied else tied[0]
    share = best / sum(votes.values())
    return domain or GENERAL, round(min(_MOST_CONFIDENCE, share * (0.5 + 0.25 * best)), 4)


def _personal(plain: str) -> list[str]:
    found = []
    if len(_DIGIT.findall(plain)) >= _FEWEST_DIGITS:
        found = [name for name, pattern in _NUMBERS if pattern.search(plain)]
    if "@" in plain and _EMAIL.search(plain):
        found.append("email")
    return found


_Effect = tuple[tuple[str, ...], tuple[str, ...]]
"""The domains a phrase speaks for, and the risks it shows."""


def _compiled() -> dict[str, list[tuple[tuple[str, ...], _Effect]]]:
    """By first word: what must follow it, and what it then says; the longest phrases first."""
    effects: dict[str, tuple[list[str], list[str]]] = {}
    for place, table in enumerate((_DOMAINS, _RISKS)):
        for name, phrases in table.items():
            for phrase in phrases.split(", "):
                effects.setdefault(phrase, ([], []))[place].append(name)
    found: dict[str, list[tuple[tuple[str, ...], _Effect]]] = {}
    for phrase, (domains, signals) in effects.items():
        first, *rest = phrase.split()
        found.setdefault(first, []).append((tuple(rest), (tuple(domains), tuple(signals))))
    return found


_PHRASES: Final = _compiled()


def _phrases_in(words: list[str]) -> Iterable[_Effect]:
    """What the phrases among ``words`` say, each phrase once however often it stands there."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for at, word in enumerate(words):
        for rest, effect in _PHRASES.get(word, ()):
            if (word, rest) not in seen and tuple(words[at + 1 : at + 1 + len(rest)]) == rest:
                seen.add((word, rest))
                yield effect
