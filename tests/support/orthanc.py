"""A real Orthanc on free ports, its storage in a temporary folder, and the little of its REST API we need."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom

from tests.support.needs import needs, needs_file
from tests.support.ports import free_port
from tests.support.processes import Program, wait_until

AE_TITLE = "ORTHANC"
_WORKLISTS = "/usr/share/orthanc/plugins/libModalityWorklists.so"
_DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


class Orthanc:
    """A PACS that takes everything from everybody.

    `modalities` names the AEs it can send to: name to (AE title, port), on loopback. `tuned`: for images as fast as it
    can, with PDUs of 128 KiB and without Nagle. `worklists`: a folder of `.wl` files to answer worklist queries from.
    `web`: it speaks DICOMweb too, at `url`.
    """

    def __init__(
        self,
        folder: Path,
        modalities: Mapping[str, tuple[str, int]] | None = None,
        *,
        tuned: bool = False,
        worklists: Path | None = None,
        web: bool = False,
    ) -> None:
        self._tuned, self._worklists = tuned, worklists
        self._plugins = [needs_file(_DICOMWEB)] if web else []
        if worklists is not None:
            self._plugins.append(needs_file(_WORKLISTS))
        self._program = needs("Orthanc")
        self._folder = folder
        self.port = free_port()
        self.http_port = free_port()
        peers = (modalities or {}).items()
        self._modalities = {name: [aet, "127.0.0.1", port] for name, (aet, port) in peers}
        self._process: Program | None = None

    @property
    def url(self) -> str:
        """Where its DICOMweb services begin."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def start(self) -> None:
        """Returns when it answers. The same folder and ports after `stop`: what it held is still there."""
        configuration = self._folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration()))
        environment = {**os.environ, "TCP_NODELAY": "1"} if self._tuned else None
        self._process = Program([self._program, configuration], self._folder / "orthanc.log", env=environment)
        self._process.wait_until(self._answers, "it answers on its REST API")
        self._process.wait_for_port(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def clear(self) -> None:
        """Forgets every patient."""
        for patient in self._get_json("/patients"):
            self._request("DELETE", f"/patients/{patient}")

    def instances(self) -> list[str]:
        """Orthanc's own ids of what it holds."""
        found: list[str] = self._get_json("/instances")
        return found

    def wait_for_instances(self, count: int, timeout: float = 30.0) -> list[str]:
        """Its ids once it holds at least so many instances."""
        wait_until(lambda: len(self.instances()) >= count, f"Orthanc holds {count} instances", timeout)
        return self.instances()

    def file(self, instance: str) -> bytes:
        """The instance as a DICOM file, byte for byte as Orthanc stored it."""
        return self._request("GET", f"/instances/{instance}/file")

    def dataset(self, instance: str) -> pydicom.FileDataset:
        return pydicom.dcmread(BytesIO(self.file(instance)))

    def by_uid(self, sop_instance_uid: str) -> pydicom.FileDataset:
        """The instance with this SOP Instance UID; fails unless there is exactly one."""
        found = json.loads(self._request("POST", "/tools/lookup", sop_instance_uid.encode()))
        (instance,) = [entry["ID"] for entry in found if entry["Type"] == "Instance"]
        return self.dataset(instance)

    def forget(self, sop_instance_uid: str) -> None:
        """Loses one instance."""
        found = json.loads(self._request("POST", "/tools/lookup", sop_instance_uid.encode()))
        (instance,) = [entry["ID"] for entry in found if entry["Type"] == "Instance"]
        self._request("DELETE", f"/instances/{instance}")

    def knows(self, name: str, aet: str, port: int) -> None:
        """From now on it can send to this AE title on loopback."""
        self._request("PUT", f"/modalities/{name}", json.dumps([aet, "127.0.0.1", port]).encode())

    def send(self, modality: str, instance: str) -> None:
        """C-STORE to one of its modalities; raises `urllib.error.HTTPError` when that fails."""
        self._request("POST", f"/modalities/{modality}/store", json.dumps([instance]).encode())

    def delete(self, sop_instance_uid: str) -> None:
        """Loses the instance, as an archive might."""
        found = json.loads(self._request("POST", "/tools/lookup", sop_instance_uid.encode()))
        for entry in found:
            if entry["Type"] == "Instance":
                self._request("DELETE", f"/instances/{entry['ID']}")

    def ask_commitment(self, modality: str, instances: Sequence[tuple[str, str]]) -> str:
        """N-ACTION to one of its modalities for (SOP class, SOP instance); its Transaction UID."""
        body = json.dumps({"DicomInstances": [list(one) for one in instances]}).encode()
        answer = json.loads(self._request("POST", f"/modalities/{modality}/storage-commitment", body))
        return str(answer["ID"])

    def commitment(self, transaction: str) -> dict[str, Any]:
        """What it was told of a transaction: `Status` (`Pending`, `Success`, `Failure`), `Success`, `Failures`."""
        found: dict[str, Any] = self._get_json(f"/storage-commitment/{transaction}")
        return found

    def _configuration(self) -> dict[str, Any]:
        storage = self._folder / "storage"
        return {
            "Name": "Orthanc of the tests",
            "StorageDirectory": str(storage),
            "IndexDirectory": str(storage),
            "Plugins": self._plugins,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomAet": AE_TITLE,
            "DicomPort": self.port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowFindWorklist": True,
            "DicomAlwaysAllowGet": True,
            "DicomModalities": self._modalities,
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": True,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False,
            "SaveJobs": False,
            **({"MaximumPduLength": 131072} if self._tuned else {}),
            **({"Worklists": _worklists(self._worklists)} if self._worklists else {}),
        }

    def _answers(self) -> bool:
        try:
            self._request("GET", "/system")
        except OSError:
            return False
        return True

    def _get_json(self, path: str) -> Any:
        return json.loads(self._request("GET", path))

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            content: bytes = response.read()
        return content


def _worklists(folder: Path) -> dict[str, Any]:
    return {"Enable": True, "Database": str(folder), "FilterIssuerAet": False, "LimitAnswers": 0}
