"""The URLconf, with an included one."""

from django.urls import include, path, re_path

from djangoshop import views

orders = [
    path("", views.read),
    path("payment", views.pay),
    path("apayment", views.apay),
    path("shipment", views.read),
    path("ashipment", views.aread),
    path("async", views.aread),
    path("lines", views.lines),
    path("alines", views.alines),
]
urlpatterns = [
    path("orders/<str:order>/", include(orders)),
    path("files/<path:name>/raw", views.read),
    path("<a>-<b>", views.read),
    path("refunds", views.refund),
    path("arefunds", views.arefund),
    re_path(r"^old/(?P<order>\d+)/?$", views.read),
    re_path(r"^archive/(?P<order>[0-9a-f]{2,8})/", include([re_path(r"^v1\.0$", views.read)])),
    re_path(r"^loose/(?P<order>\d+)", views.read),
    re_path(r"loose/(?P<order>\d+)$", views.read),
    re_path(r"^loose/(?:a|b)/(?P<order>\d+)$", views.read),
]
