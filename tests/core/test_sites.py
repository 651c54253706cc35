import pytest
from pytest_django import Settings

from connections.core.sites import (
    DATADOG_SITES,
    DatadogSite,
    UnknownSiteError,
    all_sites,
    get_site,
    parse_extra_sites,
)

# The sites of Datadog's reference page, and UK1 of its newer edition.
SITES = [
    ("US1", "datadoghq.com", "app.datadoghq.com", "api.datadoghq.com"),
    ("US3", "us3.datadoghq.com", "us3.datadoghq.com", "api.us3.datadoghq.com"),
    ("US5", "us5.datadoghq.com", "us5.datadoghq.com", "api.us5.datadoghq.com"),
    ("EU1", "datadoghq.eu", "app.datadoghq.eu", "api.datadoghq.eu"),
    ("AP1", "ap1.datadoghq.com", "ap1.datadoghq.com", "api.ap1.datadoghq.com"),
    ("AP2", "ap2.datadoghq.com", "ap2.datadoghq.com", "api.ap2.datadoghq.com"),
    ("US1-FED", "ddog-gov.com", "app.ddog-gov.com", "api.ddog-gov.com"),
    ("US2-FED", "us2.ddog-gov.com", "us2.ddog-gov.com", "api.us2.ddog-gov.com"),
    ("UK1", "uk1.datadoghq.com", "uk1.datadoghq.com", "api.uk1.datadoghq.com"),
]


@pytest.mark.parametrize(("name", "site", "ui_host", "api_host"), SITES)
def test_each_site_has_exactly_its_hosts(name: str, site: str, ui_host: str, api_host: str):
    assert get_site(site) == DatadogSite(
        name=name, site=site, ui_host=ui_host, api_host=api_host, base_url=f"https://{api_host}"
    )


def test_there_are_no_other_sites():
    assert [site.site for site in DATADOG_SITES] == [site for _, site, _, _ in SITES]


def test_a_site_is_shown_with_its_name_and_public_address():
    assert get_site("datadoghq.eu").label == "EU1 (datadoghq.eu)"


@pytest.mark.parametrize("typed", ["", "EU1", "DATADOGHQ.EU", "us4.datadoghq.com", "sandbox"])
def test_a_host_is_never_built_from_a_typed_site(typed: str):
    with pytest.raises(
        UnknownSiteError, match=r"There is no Datadog site .* Known: datadoghq\.com"
    ):
        get_site(typed)


def test_extra_sites_are_listed_after_the_real_ones(settings: Settings):
    settings.EXTRA_SITES = parse_extra_sites("sandbox=http://127.0.0.1:4010")
    assert all_sites() == (
        *DATADOG_SITES,
        DatadogSite(
            name="sandbox",
            site="sandbox",
            ui_host="127.0.0.1:4010",
            api_host="127.0.0.1:4010",
            base_url="http://127.0.0.1:4010",
        ),
    )


def test_the_demo_knows_none_of_datadogs_sites(settings: Settings):
    settings.IS_DEMO = True
    settings.EXTRA_SITES = {"sandbox-us5": "http://127.0.0.1:4010"}
    assert [site.name for site in all_sites()] == ["US5"]
    with pytest.raises(UnknownSiteError):
        get_site("datadoghq.com")


@pytest.mark.parametrize(
    ("text", "sites"),
    [
        ("", {}),
        (" , ", {}),
        ("mirror=https://dd.example.com", {"mirror": "https://dd.example.com"}),
        ("mirror=https://DD.example.com:8443/", {"mirror": "https://dd.example.com:8443"}),
        ("mirror=https://dd.example.com:", {"mirror": "https://dd.example.com"}),
        ("six=http://[::1]:4010", {"six": "http://[::1]:4010"}),
        (
            " a-1=http://127.0.0.1:1 , b_2=https://b.example,",
            {"a-1": "http://127.0.0.1:1", "b_2": "https://b.example"},
        ),
    ],
)
def test_extra_sites_are_parsed_from_text(text: str, sites: dict[str, str]):
    assert parse_extra_sites(text) == sites


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("sandbox", "name=https://host"),
        ("=https://a.example", "letters and digits"),
        ("a/b=https://a.example", "letters and digits"),
        ("..=https://a.example", "letters and digits"),
        ("-a=https://a.example", "letters and digits"),
        ("ä=https://a.example", "letters and digits"),
        ("a\nb=https://a.example", "letters and digits"),
        (f"{'a' * 41}=https://a.example", "at most 40"),
        ("datadoghq.eu=https://a.example", "choose another name"),
        ("eu1=https://a.example", "choose another name"),
        ("a=https://a.example,A=https://b.example", "choose another name"),
        ("a=http://a.example", "must start with https://"),
        ("a=http://localhost:4010", "must start with https://"),
        ("a=http://127.0.0.1.nip.example", "must start with https://"),
        ("a=http://127.0.0.2", "must start with https://"),
        ("a=ftp://127.0.0.1", "must start with https://"),
        ("a=a.example", "can't be read"),
        ("a=https://", "can't be read"),
        ("a=https://ä.example", "can't be read"),
        ("a=https://a.example:port", "can't be read"),
        ("a=https://a.example:99999", "can't be read"),
        ("a=https://[::1", "can't be read"),
        ("a=https://a b.example", "can't be read"),
        ("a=https://me@a.example", "can have only a scheme"),
        ("a=https://a.example/api", "can have only a scheme"),
        ("a=https://a.example?x=1", "can have only a scheme"),
        ("a=https://a.example#x", "can have only a scheme"),
        ("a=https://api.datadoghq.eu", "choose that site instead"),
        # The web address serves the same requests.
        ("a=https://app.datadoghq.eu", "choose that site instead"),
        ("a=https://one.example,b=https://ONE.example", "one name is enough"),
        ("a=https://API.datadoghq.eu:443", "choose that site instead"),
        ("a=https://api.datadoghq.eu.", "choose that site instead"),
    ],
)
def test_an_invalid_extra_site_is_refused_with_instructions(text: str, advice: str):
    with pytest.raises(ValueError, match=advice.replace(".", r"\.")):
        parse_extra_sites(text)
