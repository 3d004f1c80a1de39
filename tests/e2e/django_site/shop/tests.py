"""Run by `manage.py test` in a database that the site's identity creates."""

import os

from django.db import connection
from django.test import TestCase, TransactionTestCase

from .models import Article


class SyncTests(TestCase):
    def test_view(self):
        Article.objects.create(name="bread", sizes=[1, 2])
        answer = self.client.get("/articles").json()
        self.assertEqual(answer, {"names": ["bread"], "role": os.environ["SITE_ROLE"]})
        self.assertTrue(connection.settings_dict["NAME"].startswith("test_"))
        self.assertEqual(Article.objects.get(sizes__contains=2).name, "bread")


class AsyncTests(TransactionTestCase):
    async def test_view(self):
        await Article.objects.acreate(name="milk")
        answer = (await self.async_client.get("/async")).json()
        self.assertEqual(answer, {"names": ["milk"], "count": 1})
