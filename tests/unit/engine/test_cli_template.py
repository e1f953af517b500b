"""Templates as Go renders them: what is expected here is what text/template with docker's functions prints."""

from __future__ import annotations

from typing import Any

import pytest

from crate_engine.cli.template import Map, Template, TemplateError

VALUE: dict[str, Any] = {
    "Id": "sha256:abc",
    "Name": "/web",
    "Size": 1500,
    "Ratio": 1.5,
    "On": True,
    "Off": False,
    "None": None,
    "Empty": "",
    "Tags": ["a:1", "b:2"],
    "Nothing": [],
    "State": {"Status": "running", "Pid": 7},
    "Labels": Map({"z": "26", "a.b": "dotted", "plain": "yes"}),
    "Ports": Map({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": None}),
    "Label": lambda name: {"plain": "yes"}.get(name, ""),
}


def rendered(text: str, value: Any = VALUE, **options: Any) -> str:
    return Template(text, **options).render(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain } {", "plain } {"),
        ("{{.Id}}", "sha256:abc"),
        ("{{ .Id }} and {{.Size}}", "sha256:abc and 1500"),
        ("{{.State.Status}}", "running"),
        ("{{.State}}", "map[Pid:7 Status:running]"),
        ("{{.Tags}}", "[a:1 b:2]"),
        ("{{.On}} {{.Off}} {{.Ratio}} {{.None}}", "true false 1.5 <no value>"),
        ("{{.Labels.plain}} {{.Labels.nope}}", "yes <no value>"),
        ('{{index .Labels "a.b"}}|{{index .Labels "nope"}}|', "dotted||"),
        ("{{index .Tags 1}}", "b:2"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{with index .Ports "80/tcp"}}{{(index . 0).HostIp}}{{end}}', "0.0.0.0"),
        ('{{.Label "plain"}}', "yes"),
        ('{{"a \\"b\\" \\x41\\u00e9"}} {{`raw \\n`}}', 'a "b" Aé raw \\n'),
        ("{{'a'}} {{3}} {{-2}} {{1.5}} {{true}}", "97 3 -2 1.5 true"),
        ("{{$x := .Size}}{{$x}} {{$.Id}}", "1500 sha256:abc"),
        ("{{$x := 1}}{{if .On}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if .On}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ],
)
def test_values(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{json .Tags}}", '["a:1","b:2"]'),
        ("{{json .Labels}}", '{"a.b":"dotted","plain":"yes","z":"26"}'),
        ("{{json .State}}", '{"Status":"running","Pid":7}'),
        ("{{json .None}} {{json .Nothing}} {{json .Id}}", 'null [] "sha256:abc"'),
        ('{{join .Tags ", "}}', "a:1, b:2"),
        ('{{split .Id ":"}} {{index (split .Id ":") 1}}', "[sha256 abc] abc"),
        ("{{.Id | upper}} {{upper .Id | lower}} {{title .State.Status}}", "SHA256:ABC sha256:abc Running"),
        ("{{len .Tags}} {{len .Id}} {{len .Labels}}", "2 10 3"),
        ("{{slice .Id 7}} {{slice .Id 0 6}} {{slice .Tags 1 2}}", "abc sha256 [b:2]"),
        ("{{truncate .Id 6}} {{truncate .Id 99}}|{{pad .State.Status 1 2}}|", "sha256 sha256:abc| running  |"),
        ('{{printf "%s=%d %q %v %t%%" .Name .Size .Name .Tags .On}}', '/web=1500 "/web" [a:1 b:2] true%'),
        ('{{printf "%05d|%-5s|%5s|%.2f %x %+d" 42 "a" "b" 1.5 255 3}}', "00042|a    |    b|1.50 ff +3"),
        ('{{printf "%s" }} {{printf "x" 1}}', "%!s(MISSING) x%!(EXTRA int=1)"),
        ('{{printf "%s" 3}}', "%!s(int=3)"),
        ('{{.Name | printf "%s-%s" "a"}}', "a-/web"),
        ("{{print 1 2 .Id 3}} {{println .Id}}", "1 2sha256:abc3 sha256:abc\n"),
        ('{{eq .State.Status "running"}} {{eq 1 2 3 1}} {{ne 1 2}}', "true true true"),
        ("{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge .Size 1500}}", "true true false true"),
        (
            "{{and .On .Id}} {{and .Off .Id}} {{or .Empty .Id}} {{or .Empty .Off}} {{not .Empty}}",
            "sha256:abc false sha256:abc false true",
        ),
        ("{{and .Off (index .Tags 9)}}", "false"),
        ("{{if and (eq .Size 1500) (not .Off)}}yes{{end}}", "yes"),
    ],
)
def test_functions(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{if .On}}a{{else}}b{{end}}{{if .Off}}a{{else}}b{{end}}", "ab"),
        ("{{if .Off}}a{{else if .Empty}}b{{else if .On}}c{{else}}d{{end}}", "c"),
        ("{{if .Nothing}}a{{end}}{{if .None}}b{{end}}{{if .Tags}}c{{end}}", "c"),
        ("{{range .Tags}}<{{.}}>{{end}}", "<a:1><b:2>"),
        ("{{range $i, $t := .Tags}}{{if $i}}, {{end}}{{$i}}={{$t}}{{end}}", "0=a:1, 1=b:2"),
        ("{{range $t := .Tags}}{{$t}};{{end}}", "a:1;b:2;"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a.b=dotted plain=yes z=26 "),
        (
            "{{range $p, $c := .Ports}}{{$p}}->{{if $c}}{{(index $c 0).HostPort}}{{else}}-{{end}} {{end}}",
            "53/udp->- 80/tcp->8080 ",
        ),
        ("{{range .Nothing}}x{{else}}none{{end}}{{range .None}}x{{else}}none{{end}}", "nonenone"),
        ('{{range .Tags}}{{if eq . "a:1"}}{{continue}}{{end}}{{.}}{{end}}', "b:2"),
        ("{{range .Tags}}{{.}}{{break}}{{end}}", "a:1"),
        ("{{range .Tags}}{{$.Size}} {{end}}", "1500 1500 "),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}y{{end}}", "7y"),
        ("{{with $s := .State}}{{$s.Pid}}{{end}}", "7"),
        ("a {{- .Size -}} b", "a1500b"),
        ("a {{/* a comment */}} b", "a  b"),
        ("a {{- /* a comment */ -}} b", "ab"),
        ("{{if .On}}\n  x\n{{- end}}", "\n  x"),
    ],
)
def test_control(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("{{.Nope}}", 3, "there is no field .Nope"),
        ("ab {{.State.Nope}}", 12, "there is no field .Nope"),
        ("{{.Id.Nope}}", 6, "a text has no field .Nope"),
        ("{{.None.Nope}}", 8, "nothing has no field .Nope"),
        ("{{nope .Id}}", 3, "there is no function nope"),
        ("{{Id}}", 3, "there is no function Id"),
        ("{{.Id", 1, "{{ without }}"),
        ("{{.Id ! }}", 7, "unexpected '!'"),
        ("{{if .On}}x", 3, "if without end"),
        ("{{if .On}}x{{else}}y{{else}}z{{end}}", 23, "a second else"),
        ("{{end}}", 3, "end without if, with or range"),
        ("{{range .Size}}x{{break .Id}}{{end}}", 25, "unexpected '.Id' in break"),
        ("{{break}}", 3, "break outside of range"),
        ("{{range .Id}}{{end}}", 3, "range cannot go over a text"),
        ("{{$x}}", 3, "there is no variable $x"),
        ("{{if .On}}{{$x := 1}}{{end}}{{$x}}", 31, "there is no variable $x"),
        ("{{(.Id}}", 3, "( without )"),
        ("{{.Id | }}", 9, "a value is missing"),
        ("{{upper .Size}}", 3, "upper: a number is no text"),
        ("{{upper}}", 3, "upper: takes other arguments than these 0"),
        ("{{index .Tags 5}}", 3, "index: there is no element 5 of 2"),
        ('{{.Tags | join ", "}}', 11, "join: a text is no list"),
        ('{{eq .Size "a"}}', 3, "eq: a number cannot be compared with a text"),
        ('{{.Id "x"}}', 3, ".Id is no method and takes no argument"),
        ('{{"a" .Id}}', 3, '"a" is no function and takes no argument'),
        ('{{"\\y"}}', 3, '"\\y" is no text of Go'),
        ('{{define "x"}}{{end}}', 3, "define cannot stand here in crate"),
        ("{{" + "(" * 200 + ".Id" + ")" * 200 + "}}", 103, "more than 100"),
    ],
)
def test_an_error_says_what_and_where(text: str, where: int, problem: str) -> None:
    with pytest.raises(TemplateError) as failure:
        rendered(text)
    assert f"column {where}: {problem}" in str(failure.value)


def test_an_error_in_several_lines_says_which() -> None:
    with pytest.raises(TemplateError, match="line 3, column 5: there is no function nope"):
        rendered("a\nb\n  {{nope}}")


def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TemplateError) as failure:
        rendered("{{.State.Nope}}")
    assert failure.value.hint == "there are .Status, .Pid"


def test_escapes_are_replaced_outside_of_actions_where_that_is_wanted() -> None:
    assert rendered(r'{{.Id}}\t{{join .Tags "\n"}}\n', escapes=True) == "sha256:abc\ta:1\nb:2\n"
    assert rendered(r"{{.Id}}\t") == r"sha256:abc\t"


def test_values_cannot_command_the_terminal() -> None:
    assert rendered("{{.}}|{{json .}}", "\x1b[31m\tx\n") == '\\x1b[31m\tx\n|"\\u001b[31m\\tx\\n"'


def test_a_long_template_is_read_in_one_go() -> None:
    assert rendered("{{.Size}} " * 5000) == "1500 " * 5000
