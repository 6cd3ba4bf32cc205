"""The currencies that a price may be in (ISO 4217)."""

import re
from typing import Final

CURRENCY_PATTERN: Final = r"^[A-Z]{3}$"
# List one of ISO 4217 in January 2026 (from pycountry 26.2.16, which is 8 MB of names besides),
# without funds, metals, units of account, and the codes for tests and for no currency.
CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN
    BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB
    EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR
    ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD
    MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR
    PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE
    SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU
    UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905 - 155 lines otherwise
)


NO_CURRENCY: Final = 'must be a currency by ISO 4217: three capital letters, such as "EUR"'


def currency(code: str) -> str:
    """Raises ValueError: it is none."""
    if code not in CURRENCIES:
        raise ValueError(NO_CURRENCY)
    return code


def currency_form(code: str) -> str:
    """Raises ValueError: it neither is nor was one."""
    if not re.fullmatch(CURRENCY_PATTERN, code):
        raise ValueError(NO_CURRENCY)
    return code
