"""A root: a local folder or an `s3://bucket/prefix`, behind one small interface.

Every file but the pointer is immutable and written atomically: under a temporary name and renamed on a local disk, in
one put on S3. A kill or a power cut at any instant leaves either no file or a whole one.
"""

from storage.roots.digests import digest_once as digest_once
from storage.roots.disk import WORK_FOLDER as WORK_FOLDER
from storage.roots.entries import Entry as Entry
from storage.roots.errors import ConflictError as ConflictError
from storage.roots.errors import DamagedError as DamagedError
from storage.roots.errors import DiskError as DiskError
from storage.roots.errors import StoreError as StoreError
from storage.roots.errors import UnavailableError as UnavailableError
from storage.roots.root import Root as Root
from storage.roots.workspaces import scratch_folder as scratch_folder
