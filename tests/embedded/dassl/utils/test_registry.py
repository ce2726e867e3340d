import pytest
from dassl.utils import Registry


def test_classes_and_functions_are_filed_under_their_names_in_order():
    registry = Registry("THING")

    @registry.register()
    class Second: ...

    @registry.register()
    def first(): ...

    assert registry.registered_names() == ["Second", "first"]
    assert registry.get("Second") is Second


def test_a_plain_call_registers_too():
    registry = Registry("THING")
    registry.register(dict)
    assert registry.get("dict") is dict


def test_a_name_is_taken_once_unless_forced():
    registry = Registry("THING")
    registry.register(dict)
    with pytest.raises(KeyError, match="is registered in THING already"):
        registry.register(dict)
    registry.register(dict, force=True)


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError, match="not registered in THING"):
        Registry("THING").get("x")
