import inspect
import io
import os
import re
import sys
import tempfile
import typing
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import exportd_client as ec
from exportd_client import _crc32c, _transport, models

JOB = "abcdefghijklmnopqrstuvwxyz"


class Crc32c(unittest.TestCase):
    def test_vectors(self):
        # Of RFC 3720, B.4, and the one that is in every list of CRCs.
        for data, want in [
            (b"", 0),
            (b"123456789", 0xE3069283),
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
        ]:
            self.assertEqual(_crc32c._extend_in_python(0, data), want, data)

    def test_pieces(self):
        data = os.urandom(101)
        for cut in range(len(data)):
            crc = _crc32c._extend_in_python(_crc32c._extend_in_python(0, data[:cut]), data[cut:])
            self.assertEqual(crc, _crc32c._extend_in_python(0, data))

    def test_fast(self):
        """What is used is right, whichever it is."""
        self.assertEqual(_crc32c.extend(0, b"123456789"), 0xE3069283)


class Pauses(unittest.TestCase):
    def test_doubling(self):
        pauses = _transport.Pauses()
        for want in [0.5, 1, 2, 4, 8, 16, 30, 30, 30]:
            self.assertTrue(want / 2 <= pauses.next() <= want * 1.5)
        pauses.reset()
        self.assertLessEqual(pauses.next(), 0.75)


class Models(unittest.TestCase):
    def test_they_are_types(self):
        found = [m for _, m in inspect.getmembers(models, typing.is_typeddict)]
        self.assertGreater(len(found), 60)
        for model in found:
            typing.get_type_hints(model)
        self.assertIn("from", typing.get_type_hints(models.Params))


class Waiting(unittest.TestCase):
    def client(self, **options):
        return ec.Client("http://127.0.0.1:1", "k", "s", sleep=lambda _: None, **options)

    def test_timeout(self):
        client = self.client()
        job = {"jobId": JOB, "state": "running"}
        with mock.patch.object(client, "_poll", return_value=(job, 1)) as poll:
            with self.assertRaises(ec.WaitTimeout) as e:
                client.wait(JOB, timeout=0)
        self.assertEqual(e.exception.job_id, JOB)
        poll.assert_called_once_with(JOB, 0)

    def test_errors_name_the_job(self):
        with self.assertRaises(ec.NetworkError) as e:
            self.client(attempts=1).wait(JOB)
        self.assertEqual(e.exception.job_id, JOB)


class Secrets(unittest.TestCase):
    def test_nothing_shows_a_link(self):
        """Whoever reads a signed link could get the file."""
        for link in ["http://127.0.0.1:1/f?X-Goog-Signature=hidden", "http://[?X-Goog-Signature=hidden", "x:hidden", "http://a b/?hidden"]:
            client = ec.Client("http://127.0.0.1:1", "k", "s", attempts=1)
            job = {"jobId": JOB, "state": "succeeded", "crc32c": "AAAAAA==", "sizeBytes": 3, "csvUrl": link}
            with self.assertRaises(ec.NetworkError) as e:
                client.download(job, io.BytesIO())
            self.assertNotIn("hidden", f"{e.exception!r} {e.exception.__cause__!r}")

    def test_a_part_file_is_for_its_owner(self):
        client = ec.Client("http://127.0.0.1:1", "k", "s", attempts=1)
        job = {"jobId": JOB, "state": "succeeded", "crc32c": "AAAAAA==", "sizeBytes": 3, "csvUrl": "http://127.0.0.1:1/"}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "out.csv")
            with self.assertRaises(ec.NetworkError):
                client.save(job, path)
            self.assertEqual(ec.part_path(path, JOB).stat().st_mode & 0o777, 0o600)

    def test_a_result_does_not_show_its_client(self):
        client = ec.Client("http://127.0.0.1:1", "the-key", "the-secret")
        self.assertIsNone(re.search("the-(key|secret)", repr(ec.Result(1, {}, client))))


if __name__ == "__main__":
    unittest.main()
