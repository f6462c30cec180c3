"""The settings; where the databases are comes from the environment."""

import os

DATA = os.environ["SHOP_DATA"]
SECRET_KEY = "of the tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "djangoshop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "djangoshop.apps.ShopConfig",
    "mcp_sdk_django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "mcp_sdk_django.middleware.MeshMiddleware",
]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{DATA}/shop.db"},
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{DATA}/other.db"},
}
MCP_SDK = {"SERVICE": "orders", "FETCH_TIMEOUT": 5.0}
