"""Meshes and functions in a framework's settings."""

import pytest

from mcp_sdk import ConfigurationError, Mesh
from mcp_sdk.middleware import read_mesh, read_option

shop = Mesh(service="shop")


def test_settings_make_a_mesh():
    """In upper or lower case; what stands apart is not the mesh's."""
    made = read_mesh({"SERVICE": "orders", "mode": "observe", "GEO": len}, apart=["GEO"])
    assert (made.config.service, made.config.mode) == ("orders", "observe")


@pytest.mark.parametrize("setting", [shop, f"{__name__}.shop", f"{__name__}:shop"])
def test_a_mesh_or_its_path_is_the_mesh(setting):
    """As a dotted path or with a colon."""
    assert read_mesh(setting) is shop


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (7, "MCP_SDK is 7; it is a mapping of settings or the dotted path of a Mesh"),
        ("no.such.thing", "MCP_SDK is 'no.such.thing', which cannot be imported"),
        (f"{__name__}.sho", "cannot be imported"),
        ("not a path", "cannot be imported"),
        ({"SERVIC": "orders"}, "MCP_SDK: unknown setting 'servic'. Did you mean 'service'"),
    ],
)
def test_what_cannot_be_a_mesh_is_said(setting, said):
    """The value, and what is wrong with it."""
    with pytest.raises(ConfigurationError) as error:
        read_mesh(setting)
    assert said in str(error.value)


@pytest.mark.parametrize("value", [len, "builtins.len", "builtins:len"])
def test_an_option_is_a_function_or_its_path(value):
    """And None where there is none, or where the setting names a mesh."""
    assert read_option({"GEO": value}, "GEO") is len
    assert read_option({}, "GEO") is None
    assert read_option(shop, "GEO") is None


def test_an_option_that_cannot_be_called_is_said():
    """With its name and its value."""
    with pytest.raises(ConfigurationError, match=r"^SHOP\['GEO'\] is 7, which cannot be called"):
        read_option({"GEO": 7}, "GEO", name="SHOP")
