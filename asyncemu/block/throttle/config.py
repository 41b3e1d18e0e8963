# SPDX-License-Identifier: GPL-2.0-or-later
"""The limits of a throttle group: as options, and checked. QEMU: ThrottleLimits, ThrottleConfig, throttle_is_valid.

limits = ThrottleLimits.parse({"iops-total": 100, "iops-total-max": 500}, "throttle-group[0].limits")
config = limits.config("throttle-group[0].limits")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions, option

#: In this order in ThrottleConfig.buckets. Bytes a second, and requests a second.
BUCKET_NAMES: Final = ("bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write")
BPS_TOTAL: Final = 0
BPS_READ: Final = 1
BPS_WRITE: Final = 2
IOPS_TOTAL: Final = 3
IOPS_READ: Final = 4
IOPS_WRITE: Final = 5

#: A rate or a burst is at most this: what follows from it is exact in a double. QEMU: THROTTLE_VALUE_MAX.
LARGEST_VALUE: Final = 1_000_000_000_000_000
#: Seconds; QEMU keeps them in an unsigned int.
LARGEST_LENGTH: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class BucketLimit:
    """The limit of one bucket. ``average`` 0: none."""

    #: Units a second in the long run.
    average: int = 0
    #: Units a second in a burst; 0: no bursts, but for a tenth of a second's worth.
    maximum: int = 0
    #: Seconds that a burst may last.
    burst_length: int = 1


@dataclass(frozen=True, slots=True)
class ThrottleConfig:
    """All limits of a group."""

    #: One for each of BUCKET_NAMES.
    buckets: tuple[BucketLimit, ...] = (BucketLimit(),) * len(BUCKET_NAMES)
    #: Requests of more than so many bytes count as several; 0: all count as one.
    iops_size: int = 0

    @property
    def enabled(self) -> bool:
        """Is anything limited?"""
        return any(bucket.average for bucket in self.buckets)

    def limited(self) -> list[tuple[str, BucketLimit]]:
        """What is limited, by name."""
        return [(name, bucket) for name, bucket in zip(BUCKET_NAMES, self.buckets, strict=True) if bucket.average]

    def check(self, where: str) -> None:
        """ConfigError, in QEMU's words, when the limits make no sense together."""
        problem = self._conflict() or next(filter(None, map(_bucket_problem, self.buckets)), "")
        if problem:
            raise ConfigError(where, problem)

    def _conflict(self) -> str:
        for total in (BPS_TOTAL, IOPS_TOTAL):
            whole, *parts = self.buckets[total : total + 3]
            if (whole.average and any(part.average for part in parts)) or (
                whole.maximum and any(part.maximum for part in parts)
            ):
                return "bps/iops/max total values and read/write values cannot be used at the same time"
        if self.iops_size and not any(bucket.average for bucket in self.buckets[IOPS_TOTAL:]):
            return "iops size requires an iops value to be set"
        return ""


def _bucket_problem(bucket: BucketLimit) -> str:
    if not (0 <= bucket.average <= LARGEST_VALUE and 0 <= bucket.maximum <= LARGEST_VALUE):
        return f"bps/iops/max values must be within [0, {LARGEST_VALUE}]"
    if not bucket.burst_length:
        return "the burst length cannot be 0"
    if bucket.burst_length > 1 and not bucket.maximum:
        return "burst length set without burst rate"
    if bucket.maximum and bucket.burst_length > LARGEST_VALUE // bucket.maximum:
        return "burst length too high for this burst rate"
    if bucket.maximum and not bucket.average:
        return "bps_max/iops_max require corresponding bps/iops values"
    if bucket.maximum and bucket.maximum < bucket.average:
        return "bps_max/iops_max cannot be lower than bps/iops"
    return ""


class ThrottleLimits(PlainOptions):
    """QEMU's ThrottleLimits. Rates are a second's, bursts are rates, their lengths are in seconds; 0: no limit."""

    iops_total: int = option(default=0, description="Requests a second.")
    iops_total_max: int = option(default=0, description="Requests a second in bursts.")
    iops_total_max_length: int = option(default=1, description="Length of bursts of requests, in seconds.")
    iops_read: int = option(default=0, description="Reads a second.")
    iops_read_max: int = option(default=0, description="Reads a second in bursts.")
    iops_read_max_length: int = option(default=1, description="Length of bursts of reads, in seconds.")
    iops_write: int = option(default=0, description="Writes a second.")
    iops_write_max: int = option(default=0, description="Writes a second in bursts.")
    iops_write_max_length: int = option(default=1, description="Length of bursts of writes, in seconds.")
    bps_total: int = option(default=0, description="Bytes a second.")
    bps_total_max: int = option(default=0, description="Bytes a second in bursts.")
    bps_total_max_length: int = option(default=1, description="Length of bursts of bytes, in seconds.")
    bps_read: int = option(default=0, description="Bytes read a second.")
    bps_read_max: int = option(default=0, description="Bytes read a second in bursts.")
    bps_read_max_length: int = option(default=1, description="Length of bursts of bytes read, in seconds.")
    bps_write: int = option(default=0, description="Bytes written a second.")
    bps_write_max: int = option(default=0, description="Bytes written a second in bursts.")
    bps_write_max_length: int = option(default=1, description="Length of bursts of bytes written, in seconds.")
    iops_size: int = option(default=0, description="Bytes beyond which a request counts as several; 0: none does.")

    def config(self, where: str) -> ThrottleConfig:
        """The same as a value. ConfigError, in QEMU's words, when it makes no sense; ``where`` is the TOML path."""
        for name in BUCKET_NAMES:
            length = getattr(self, f"{name.replace('-', '_')}_max_length")
            if not 0 <= length <= LARGEST_LENGTH:
                key = f"{name}-max-length"
                raise ConfigError(f"{where}.{key}", f"{key} value must be in the range [0, {LARGEST_LENGTH}]")
        config = ThrottleConfig(tuple(map(self._bucket, BUCKET_NAMES)), self.iops_size)
        if self.iops_size < 0:
            raise ConfigError(f"{where}.iops-size", "Property values cannot be negative")
        config.check(where)
        return config

    def _bucket(self, name: str) -> BucketLimit:
        field = name.replace("-", "_")
        return BucketLimit(*(getattr(self, field + suffix) for suffix in ("", "_max", "_max_length")))
