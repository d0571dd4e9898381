"""What is different about each S3-compatible store, as facts; `doctor s3` probes them.

Sources: the stores' own pages, and threads where users met what those do not say. Nobody else asks which
store this is: callers ask a profile what it can do.
"""

from __future__ import annotations

import re

from coldstart_sdk.frozen import dataclass

MIB = 1 << 20
GIB = 1 << 30
_MOST_PARTS = 9_000
"""Below the 10,000 that every store allows."""
_PART_BYTES = 16 * MIB


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One kind of store."""

    name: str
    title: str
    host: str | None
    """Pattern of its endpoints' host names; its group `region` is the region. None: anything else."""
    region: str = "us-east-1"
    """Where the endpoint does not name one."""
    region_in_capitals: bool = False
    conditional_writes: bool = True
    """Whether `If-None-Match: *` on a PUT is honoured."""
    presigns: bool = True
    """Whether an address can be signed for others; otherwise each request carries its own signature."""
    in_host: bool = False
    """Whether the bucket stands in the host name."""
    largest_put_bytes: int = 5 * GIB
    largest_part_bytes: int = 5 * GIB
    lists_uploads: bool = True
    """Whether unfinished uploads can be found again by their key."""
    note: str = ""
    """What a user of this store should know."""

    def part_bytes(self, size_bytes: int) -> int:
        """The size of every part but the last: a function of the file alone, so that anybody can go on."""
        least = -(-size_bytes // _MOST_PARTS)
        return min(max(_PART_BYTES, -(-least // MIB) * MIB), self.largest_part_bytes)


AWS = Profile(
    name="aws", title="Amazon S3", host=r"s3[.-](?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?", in_host=True
)
B2 = Profile(
    name="b2",
    title="Backblaze B2",
    host=r"s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com",
    conditional_writes=False,
    note="Use an application key bound to the bucket; a master key does not work.",
)
R2 = Profile(
    name="r2",
    title="Cloudflare R2",
    host=r"[0-9a-f]+(\.[a-z]+)?\.r2\.cloudflarestorage\.com",
    region="auto",
)
RUNPOD = Profile(
    name="runpod",
    title="RunPod network volumes",
    host=r"s3api-(?P<region>[a-z0-9-]+)\.runpod\.io",
    region_in_capitals=True,
    conditional_writes=False,
    presigns=False,
    largest_put_bytes=450 * MIB,
    largest_part_bytes=450 * MIB,
    lists_uploads=False,
    note="It signs no addresses: results= needs another bucket. Lists of over 10,000 files are slow.",
)
MINIO = Profile(name="minio", title="MinIO", host=None)
OTHER = Profile(name="other", title="an S3-compatible store", host=None, conditional_writes=False)

PROFILES = {profile.name: profile for profile in (AWS, B2, R2, RUNPOD, MINIO, OTHER)}


def of_endpoint(endpoint: str | None, named: str | None = None) -> tuple[Profile, str]:
    """The profile of an endpoint's host, and its region; `named` (COLDSTART_S3_PROFILE) wins."""
    if endpoint is None:
        return AWS, AWS.region
    host = re.sub(r"^[a-z]+://", "", endpoint).partition("/")[0].partition(":")[0].lower()
    for profile in (AWS, B2, R2, RUNPOD):
        if profile.host and (found := re.fullmatch(profile.host, host)):
            region = found.groupdict().get("region") or profile.region
            told = PROFILES.get(named or "", profile)
            return told, region.upper() if profile.region_in_capitals else region
    told = PROFILES.get(named or "", OTHER)
    return told, told.region
