import asyncio

from django.db import connection
from django.http import JsonResponse
from django.urls import path

from .models import Article


def role():
    with connection.cursor() as cursor:
        cursor.execute("select current_user")
        return cursor.fetchone()[0]


def articles(request):
    return JsonResponse({"names": [article.name for article in Article.objects.all()], "role": role()})


async def articles_async(request):
    names = [article.name async for article in Article.objects.all()]
    count, _ = await asyncio.gather(Article.objects.acount(), asyncio.sleep(0))
    return JsonResponse({"names": names, "count": count})


urlpatterns = [path("articles", articles), path("async", articles_async)]
