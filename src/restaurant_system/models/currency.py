"""Currencies by ISO 4217, and how many decimals their amounts have."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

# By decimals, from list one as published on 2026-01-01 by the maintenance agency, SIX. Left out are
# codes without decimals: of metals, of baskets of currencies and for tests.
CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN "
        "BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD "
        "FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW "
        "KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR "
        "MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG "
        "SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD "
        "USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
    ),
}
DECIMALS = {code: decimals for decimals, codes in CODES.items() for code in codes.split()}
MOST_DECIMALS = max(CODES)  # of any currency
DEFAULT_DECIMALS = 2  # where no currency is configured


@dataclass(frozen=True)
class Currency:
    """The currency of all amounts; without a `code`, amounts have two decimals.

    Raises `ValueError` for an unknown code.
    """

    code: str | None = None

    def __post_init__(self) -> None:
        """Check the code."""
        if self.code is not None and self.code not in DECIMALS:
            raise ValueError("must be a currency code of ISO 4217 in capitals, such as EUR")

    @cached_property
    def decimals(self) -> int:
        """The number of decimals that an amount may have."""
        return DEFAULT_DECIMALS if self.code is None else DECIMALS[self.code]

    @cached_property
    def unit(self) -> Decimal:
        """The smallest amount, such as 0.01."""
        return Decimal(1).scaleb(-self.decimals)

    @cached_property
    def zero(self) -> Decimal:
        """Zero with all decimals, such as 0.00."""
        return Decimal(0).scaleb(-self.decimals)


NO_CURRENCY = Currency()
