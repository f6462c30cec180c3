"""A framework's setting that describes a mesh."""

import pytest

from mcp_sdk import BusinessModel, ConfigurationError, Mesh
from mcp_sdk.middleware import Setting

shop = Mesh(service="shop")


def setting(value):
    """Give a setting that says ``value``."""
    return Setting("MCP_SDK", lambda: value)


def test_settings_make_a_mesh():
    """In upper or lower case; the options are not the mesh's."""
    made = setting({"SERVICE": "orders", "mode": "observe", "GEO": len}).mesh()
    assert (made.config.service, made.config.mode) == ("orders", "observe")


@pytest.mark.parametrize("value", [shop, f"{__name__}.shop", f"{__name__}:shop"])
def test_a_mesh_or_its_path_is_the_mesh(value):
    """As a dotted path or with a colon."""
    assert setting(value).mesh() is shop


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "MCP_SDK is 7; it is a dict of settings or the dotted path of a Mesh"),
        ("no.such.thing", "MCP_SDK is 'no.such.thing', which cannot be imported"),
        (f"{__name__}.sho", "cannot be imported"),
        ("not a path", "cannot be imported"),
        ({"SERVIC": "orders"}, "MCP_SDK: unknown setting 'servic'. Did you mean 'service'"),
    ],
)
def test_what_cannot_be_a_mesh_is_said(value, said):
    """The value, and what is wrong with it; it is the one problem that is found."""
    with pytest.raises(ConfigurationError) as error:
        setting(value).mesh()
    assert said in str(error.value)
    [problem] = setting(value).problems(lambda: shop)
    assert (problem.kind, problem.text) == ("setting", str(error.value))
    assert problem.hint.startswith('Write MCP_SDK = {"SERVICE": "orders"}')


@pytest.mark.parametrize("value", [len, "builtins.len", "builtins:len"])
def test_an_option_is_a_function_or_its_path(value):
    """And None where there is none, or where the setting names a mesh."""
    assert setting({"GEO": value}).option("GEO") is len
    assert setting({}).option("GEO") is None
    assert setting(shop).option("GEO") is None


def test_each_option_that_cannot_be_called_is_a_problem():
    """With its name and its value."""
    found = setting({"GEO": 7, "PRINCIPAL": "no.such"}).problems(lambda: shop)
    assert [(problem.kind, problem.text[:35]) for problem in found] == [
        ("option", "MCP_SDK['PRINCIPAL'] is 'no.such', "),
        ("option", "MCP_SDK['GEO'] is 7, which cannot b"),
    ]


def test_what_the_mesh_in_use_knows_to_be_wrong_is_a_problem():
    """As its start would say it."""
    mesh = Mesh(models=[BusinessModel("user", pseudonymise=True)])
    [problem] = setting({}).problems(lambda: mesh)
    assert (problem.kind, "there is no key to do it with" in problem.text) == ("declaration", True)
