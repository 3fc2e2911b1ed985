"""From the bytes of an HL7 message or batch to verdict, events and answer. Pure: no socket, no clock, no disk.

The rules of answering stand here and nowhere else: an unsupported type, trigger, version or processing id is `AR`;
content that a person at the sender must put right is `AE`; what is listed as ignorable is `AA` and counted; an
acknowledgement is never answered; a batch is taken or refused member by member, and as a whole only where it is no
batch or something of it was lost. What a message means is the adapter's `Mapper`.

Everything is imported from here: a listener's `reader` judges a `message` by the listener's `profile`, a `batch` member
by member; `stamp` makes the reception, with its answers and its search `keys`.
"""

from broker.reception.batch import ReceivedBatch, receive_batch
from broker.reception.keys import search_keys
from broker.reception.message import VERSIONS, check_header, receive, refuse
from broker.reception.profile import Mapper, Profile
from broker.reception.reader import Hl7Reader
from broker.reception.stamp import BATCH, acknowledge

__all__ = [
    "BATCH",
    "VERSIONS",
    "Hl7Reader",
    "Mapper",
    "Profile",
    "ReceivedBatch",
    "acknowledge",
    "check_header",
    "receive",
    "receive_batch",
    "refuse",
    "search_keys",
]
