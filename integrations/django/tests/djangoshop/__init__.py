"""A Django project as a user writes it. Run by gunicorn and uvicorn, and by the tests."""
